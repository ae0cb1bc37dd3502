_base_ = './res20.py'
# No residual branch starts at zero, as in the authors' code.
model = dict(
    backbone=dict(
        _delete_=True, type='ResNet_CIFAR', depth=50, zero_init_residual=False
    ),
    head=dict(in_channels=2048),
)
