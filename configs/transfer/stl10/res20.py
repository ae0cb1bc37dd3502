_base_ = '../../_base_/probes/stl10.py'
model = dict(
    config='{{ fileDirname }}/../../baseline/cifar100/res20.py',
    checkpoint='work_dirs/baseline/cifar100/res20/epoch_240.pth',
)
