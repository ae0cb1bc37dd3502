# The teacher is trained here first: tools/train.py configs/baseline/cifar100/wrn40-2.py
# Or name mdistiller's wrn_40_2_vanilla/ckpt_epoch_240.pth (75.61 published):
# --cfg-options model.teacher.checkpoint=<path>
_base_ = './res32x4_shn-v1.py'
model = dict(
    teacher=dict(
        config='{{ fileDirname }}/../../../baseline/cifar100/wrn40-2.py',
        checkpoint='work_dirs/baseline/cifar100/wrn40-2/epoch_240.pth',
    )
)
default_hooks = dict(teacher_check=dict(minimum=74.0))
