# BinaryKL-Norm on the student's own classifier: the counter-example of DHKD.
method = dict(
    losses=dict(binary_kl=dict(type='BinaryKLNormLoss', tau=2.0, loss_weight=0.1)),
)
