_base_ = './res20.py'
# The bias of the classifier starts as torch's; the authors' starts at 0.
model = dict(
    backbone=dict(
        _delete_=True, type='mmkd_logit.CIFARWideResNet', depth=16, widen_factor=2
    ),
    head=dict(in_channels=128),
)
