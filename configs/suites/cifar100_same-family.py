# The papers' table on CIFAR-100, teacher and student of one family.
_base_ = '../_base_/suites/cifar100.py'
_pairs = (
    'res56_res20',
    'res110_res20',
    'res110_res32',
    'res32x4_res8x4',
    'wrn40-2_wrn16-2',
    'wrn40-2_wrn40-1',
    'vgg13_vgg8',
)
rows = {}
for _pair in _pairs:
    rows.update(_base_._rows[_pair])
