# Rows of the papers' tables on CIFAR-100, by pair. RepDistiller reports the last epoch,
# mdistiller and LSKD the best one; the others do not say which.
prepare = {
    'data/cifar100': ['dataset_converters/download_cifar100.py', 'data/cifar100'],
}
_base_ = './methods.py'
_repdistiller = 'https://github.com/HobbitLong/RepDistiller'
_lskd = 'https://github.com/sunshangquan/logit-standardization-KD'
_mdistiller = 'https://github.com/megvii-research/mdistiller'
_ttm = 'https://github.com/zkxufo/TTM'
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
# Top-1 with the methods that are published for these pairs; a dash where none is known.
_published = """
                kd     ctkd   dkd    dist   wttm   mlkd   mcld
res56_res20     70.66  71.19  71.97  71.75  71.92  72.19  71.41
res110_res20    70.67  70.99  71.06  71.65  71.67  71.89  71.47
res110_res32    73.08  73.52  74.11  73.69  74.13  74.11  74.16
res32x4_res8x4  73.33  73.39  76.32  76.31  76.06  77.08  77.89
wrn40-2_wrn16-2 74.92  75.45  76.24  75.51  76.37  76.63  76.27
wrn40-2_wrn40-1 73.54  73.93  74.81  74.73  74.58  75.35  75.01
vgg13_vgg8      72.98  73.52  74.68  73.89  74.44  75.18  75.17
vgg13_mv2       67.37  68.50  69.71  68.50  69.16  70.57  71.22
res50_mv2       67.35  68.67  70.35  68.66  69.59  71.04  72.41
res50_vgg8      73.81  -      -      74.11  74.82  -      -
res32x4_shn-v1  74.07  -      76.45  76.34  74.37  -      -
res32x4_shn-v2  74.45  75.37  77.07  77.35  76.55  78.44  78.65
wrn40-2_shn-v1  74.83  -      76.70  76.40  75.42  -      -
res32x4_wrn16-2 74.90  74.57  75.70  -      -      76.52  76.75
res32x4_wrn40-2 77.70  77.66  78.46  -      -      79.26  79.58
wrn40-2_res8x4  73.97  74.61  75.56  -      -      77.33  76.82
wrn40-2_mv2     68.36  68.34  69.28  -      -      70.78  71.16
"""
_standardized = """
                kd_standardize  dkd_standardize  mlkd_standardize
res56_res20     71.43           72.32            72.33
res110_res20    71.48           71.85            72.27
res110_res32    74.17           74.29            74.32
res32x4_res8x4  76.62           77.01            78.28
wrn40-2_wrn16-2 76.11           76.39            76.95
wrn40-2_wrn40-1 74.37           74.89            75.56
vgg13_vgg8      74.36           74.81            75.22
vgg13_mv2       68.61           69.98            70.94
res50_mv2       69.02           70.45            71.19
res50_vgg8      -               -                -
res32x4_shn-v1  -               -                -
res32x4_shn-v2  75.56           77.37            78.76
wrn40-2_shn-v1  -               -                -
res32x4_wrn16-2 75.26           76.19            77.53
res32x4_wrn40-2 77.92           78.95            79.66
wrn40-2_res8x4  77.11           76.75            77.68
wrn40-2_mv2     69.23           70.01            71.61
"""
_by_method = {}
for _table in (_published, _standardized):
    _folders, *_lines = [line.split() for line in _table.strip().splitlines()]
    for _pair, *_numbers in _lines:
        for _folder, _number in zip(_folders, _numbers):
            if _number != '-':
                _by_method[_folder, _pair] = float(_number)
_sources = {
    'kd': ('last', _repdistiller),
    'ctkd': ('value', _lskd),
    'dkd': ('best', _lskd),
    'dist': ('value', _ttm),
    'wttm': ('value', _ttm),
    'mlkd': ('best', _lskd),
    'mcld': ('value', _mcld),
    'kd_standardize': ('best', _lskd),
    'dkd_standardize': ('best', _lskd),
    'mlkd_standardize': ('best', _lskd),
    # Of pairs that are elsewhere.
    ('kd', 'res32x4_wrn16-2'): ('best', _lskd),
    ('kd', 'res32x4_wrn40-2'): ('best', _lskd),
    ('kd', 'wrn40-2_res8x4'): ('best', _lskd),
    ('kd', 'wrn40-2_mv2'): ('best', _lskd),
    ('dkd', 'res32x4_shn-v1'): ('best', _mdistiller),
    ('dkd', 'wrn40-2_shn-v1'): ('best', _mdistiller),
}

_networks = {
    name: dict(
        config=f'../baseline/cifar100/{name}.py',
        published=dict(last=top1, source=_repdistiller),
    )
    for name, top1 in _plain.items()
}
_rows = {}
for _pair in (line[0] for line in _lines):
    _teacher, _student = _pair.split('_')
    _rows[_pair] = {_student: _networks[_student]}
    for _method, _name in _base_._names.items():
        _top1 = _by_method.get((_method, _pair))
        if _top1 is not None:
            _kind, _source = _sources.get((_method, _pair)) or _sources[_method]
        _rows[_pair][f'{_teacher} to {_student}: {_name}'] = dict(
            config=f'../{_method}/cifar100/{_pair}.py',
            teacher=_networks[_teacher],
            baseline=_student,
            published=_top1 and {_kind: _top1, 'source': _source},
        )
