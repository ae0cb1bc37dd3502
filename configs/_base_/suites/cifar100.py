# Rows of the papers' tables on CIFAR-100, by pair. RepDistiller reports the last epoch,
# LSKD the best one; the paper of MCLD does not say which.
prepare = {
    'data/cifar100': ['dataset_converters/download_cifar100.py', 'data/cifar100'],
}
_repdistiller = 'https://github.com/HobbitLong/RepDistiller'
_lskd = 'https://github.com/sunshangquan/logit-standardization-KD'
_mcld = 'https://arxiv.org/abs/2411.10693'

# Top-1 of teachers and plain students.
_plain = {
    'res20': 69.06,
    'res32': 71.14,
    'res56': 72.34,
    'res110': 74.31,
    'res8x4': 72.50,
    'res32x4': 79.42,
    'res50': 79.34,
    'wrn16-2': 73.26,
    'wrn40-1': 71.98,
    'wrn40-2': 75.61,
    'vgg8': 70.36,
    'vgg13': 74.64,
    'mv2': 64.60,
    'shn-v1': 70.50,
    'shn-v2': 71.82,
}
# KD, and MCLD where its paper has the pair.
_published = {
    'res56_res20': (70.66, 71.41),
    'res110_res20': (70.67, 71.47),
    'res110_res32': (73.08, 74.16),
    'res32x4_res8x4': (73.33, 77.89),
    'wrn40-2_wrn16-2': (74.92, 76.27),
    'wrn40-2_wrn40-1': (73.54, 75.01),
    'vgg13_vgg8': (72.98, 75.17),
    'vgg13_mv2': (67.37, 71.22),
    'res50_mv2': (67.35, 72.41),
    'res50_vgg8': (73.81, None),
    'res32x4_shn-v1': (74.07, None),
    'res32x4_shn-v2': (74.45, 78.65),
    'wrn40-2_shn-v1': (74.83, None),
    'res32x4_wrn16-2': (74.90, 76.75),
    'res32x4_wrn40-2': (77.70, 79.58),
    'wrn40-2_res8x4': (73.97, 76.82),
    'wrn40-2_mv2': (68.36, 71.16),
}
_of_lskd = ('res32x4_wrn16-2', 'res32x4_wrn40-2', 'wrn40-2_res8x4', 'wrn40-2_mv2')

_networks = {
    name: dict(
        config=f'../baseline/cifar100/{name}.py',
        published=dict(last=top1, source=_repdistiller),
    )
    for name, top1 in _plain.items()
}
_rows = {}
for _pair, (_kd, _of_mcld) in _published.items():
    _teacher, _student = _pair.split('_')
    _by_others = {
        'kd': dict(best=_kd, source=_lskd)
        if _pair in _of_lskd
        else dict(last=_kd, source=_repdistiller),
        'mcld': dict(value=_of_mcld, source=_mcld) if _of_mcld else None,
    }
    _rows[_pair] = {_student: _networks[_student]}
    for _name, _method in (
        ('KD', 'kd'),
        ('DHKD', 'dhkd'),
        ('MCLD', 'mcld'),
        ("KD + Kendall's tau", 'kd_kendall-tau'),
    ):
        _rows[_pair][f'{_teacher} to {_student}: {_name}'] = dict(
            config=f'../{_method}/cifar100/{_pair}.py',
            teacher=_networks[_teacher],
            baseline=_student,
            published=_by_others.get(_method),
        )
