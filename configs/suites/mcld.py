# MCLD's terms on single digits, without cross entropy, beside KD.
_terms = ('instance', 'sample', 'category')
_choices = (
    ('instance',),
    ('sample',),
    ('category',),
    ('instance', 'sample'),
    ('instance', 'category'),
    ('sample', 'category'),
    _terms,
)
teacher = '../baseline/res20_digits.py'
rows = {
    'plain student': '../baseline/res8_digits.py',
    'KD': '../kd/res20_res8_digits.py',
    **{
        f'MCLD: {" + ".join(chosen)}': dict(
            config='../mcld/res20_res8_digits.py',
            options={f'model.losses.mcld.{term}': term in chosen for term in _terms},
        )
        for chosen in _choices
    },
}
