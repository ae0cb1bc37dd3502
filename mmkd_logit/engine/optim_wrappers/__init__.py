"""Optimizer wrappers that change the training step."""

from mmkd_logit.engine.optim_wrappers.dot_optim_wrapper import (
    DOTAmpOptimWrapper,
    DOTOptimWrapper,
)
from mmkd_logit.engine.optim_wrappers.grad_align_optim_wrapper import (
    GradAlignAmpOptimWrapper,
    GradAlignOptimWrapper,
)

__all__ = [
    'DOTAmpOptimWrapper',
    'DOTOptimWrapper',
    'GradAlignAmpOptimWrapper',
    'GradAlignOptimWrapper',
]
