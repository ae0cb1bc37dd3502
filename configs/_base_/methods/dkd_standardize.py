# DKD of standardized logits, as the authors of LSKD run it: both terms times 9.
_base_ = './dkd.py'
method = dict(
    losses=dict(dkd=dict(alpha=9.0, beta=72.0, tau=2.0, transforms=['standardize']))
)
