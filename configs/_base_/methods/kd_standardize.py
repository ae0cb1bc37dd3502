# KD of standardized logits, as the authors of LSKD run it on CIFAR-100.
_base_ = './kd.py'
method = dict(
    losses=dict(kd=dict(tau=2.0, loss_weight=9.0, transforms=['standardize']))
)
