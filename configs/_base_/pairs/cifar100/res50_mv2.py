# The teacher is trained here first: tools/train.py configs/baseline/cifar100/res50.py
# Or name mdistiller's ResNet50_vanilla/ckpt_epoch_240.pth (79.34 published):
# --cfg-options model.teacher.checkpoint=<path>
_base_ = './vgg13_mv2.py'
model = dict(
    teacher=dict(
        config='{{ fileDirname }}/../../../baseline/cifar100/res50.py',
        checkpoint='work_dirs/baseline/cifar100/res50/epoch_240.pth',
    )
)
default_hooks = dict(teacher_check=dict(minimum=78.0))
