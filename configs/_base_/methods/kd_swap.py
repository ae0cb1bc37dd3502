# KD of teacher logits that are swapped where the teacher errs, as in SLD.
_base_ = './kd.py'
method = dict(losses=dict(kd=dict(transforms=['swap_errors'])))
