_base_ = '../../_base_/probes/tiny-imagenet.py'
model = dict(
    config='{{ fileDirname }}/../../baseline/cifar100/wrn40-2.py',
    checkpoint='work_dirs/baseline/cifar100/wrn40-2/epoch_240.pth',
)
