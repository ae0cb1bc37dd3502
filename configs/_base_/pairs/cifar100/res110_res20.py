# The teacher is trained here first: tools/train.py configs/baseline/cifar100/res110.py
# Or name mdistiller's resnet110_vanilla/ckpt_epoch_240.pth (74.31 published):
# --cfg-options model.teacher.checkpoint=<path>
_base_ = './res56_res20.py'
model = dict(
    teacher=dict(
        config='{{ fileDirname }}/../../../baseline/cifar100/res110.py',
        checkpoint='work_dirs/baseline/cifar100/res110/epoch_240.pth',
    )
)
default_hooks = dict(teacher_check=dict(minimum=73.0))
