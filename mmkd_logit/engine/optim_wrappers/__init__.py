"""What changes the training step."""

from mmkd_logit.engine.optim_wrappers.grad_align_optim_wrapper import (
    GradAlignAmpOptimWrapper,
    GradAlignOptimWrapper,
)

__all__ = ['GradAlignAmpOptimWrapper', 'GradAlignOptimWrapper']
