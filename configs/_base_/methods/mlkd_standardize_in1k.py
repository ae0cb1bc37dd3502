# MLKD with its KD terms of standardized logits on ImageNet: LSKD's weight of 9, and 2
# in the place of the temperature 1.
_base_ = './mlkd_standardize.py'
method = dict(task_loss_weight=0.5)
