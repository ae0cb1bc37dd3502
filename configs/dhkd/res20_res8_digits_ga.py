# With gradient alignment, as the paper has it on CIFAR-100.
_base_ = './res20_res8_digits.py'
optim_wrapper = dict(type='mmkd_logit.GradAlignOptimWrapper')
