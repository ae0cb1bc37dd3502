# The papers' table on CIFAR-100, teacher and student of different families.
_base_ = '../_base_/suites/cifar100.py'
_pairs = (
    'vgg13_mv2',
    'res50_mv2',
    'res50_vgg8',
    'res32x4_shn-v1',
    'res32x4_shn-v2',
    'wrn40-2_shn-v1',
    'res32x4_wrn16-2',
    'res32x4_wrn40-2',
    'wrn40-2_res8x4',
    'wrn40-2_mv2',
)
rows = {}
for _pair in _pairs:
    rows.update(_base_._rows[_pair])
