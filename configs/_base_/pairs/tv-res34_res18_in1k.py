# The papers' teacher is torchvision's; its file is read as it is.
_base_ = './res34_res18_in1k.py'
model = dict(
    teacher=dict(checkpoint='https://download.pytorch.org/models/resnet34-b627a593.pth')
)
# 73.31 is what torchvision publishes for this checkpoint.
default_hooks = dict(teacher_check=dict(minimum=72.7))
