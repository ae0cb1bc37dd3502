# MCLD's terms, as in its paper: resnet32x4 teaches resnet8x4, without cross entropy.
_terms = ('instance', 'sample', 'category')
_source = 'https://arxiv.org/abs/2411.10693'
_published = {
    ('instance',): 77.37,
    ('sample',): 77.42,
    ('category',): 74.88,
    ('instance', 'sample'): 77.62,
    ('instance', 'category'): 77.15,
    ('sample', 'category'): 77.05,
    _terms: 77.89,
}
prepare = {
    'data/cifar100': ['dataset_converters/download_cifar100.py', 'data/cifar100'],
}
teacher = '../baseline/cifar100/res32x4.py'
rows = {
    'plain student': dict(
        config='../baseline/cifar100/res8x4.py',
        published=dict(value=72.50, source=_source),
    ),
    **{
        f'MCLD: {" + ".join(chosen)}': dict(
            config='../mcld/cifar100/res32x4_res8x4.py',
            options={f'model.losses.mcld.{term}': term in chosen for term in _terms},
            published=dict(value=top1, source=_source),
        )
        for chosen, top1 in _published.items()
    },
}
