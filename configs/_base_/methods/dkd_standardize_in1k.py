# DKD of standardized logits on ImageNet: LSKD's factor of 9 and temperature of 2.
_base_ = './dkd_in1k.py'
method = dict(
    losses=dict(dkd=dict(alpha=9.0, beta=4.5, tau=2.0, transforms=['standardize']))
)
