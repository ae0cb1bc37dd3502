# MCLD's terms, without cross entropy, beside KD.
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
teacher = '../baseline/res20_digitpairs.py'
rows = {
    'plain student': '../baseline/res8w8_digitpairs.py',
    'KD': '../kd/res20_res8w8_digitpairs.py',
    **{
        f'MCLD: {" + ".join(chosen)}': dict(
            config='../mcld/res20_res8w8_digitpairs.py',
            options={f'model.losses.mcld.{term}': term in chosen for term in _terms},
        )
        for chosen in _choices
    },
}
