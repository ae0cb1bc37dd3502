"""Hooks and optimizer wrappers that change or watch the training step."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.engine.hooks import (
    ClassCheckHook,
    CurriculumHook,
    EpochSeedHook,
    ExportStudentHook,
    GradientConflictHook,
    LoadFromHook,
    LossWeightHook,
    NeuralCollapseHook,
    TeacherCheckHook,
)
from mmkd_logit.engine.optim_wrappers import (
    DOTAmpOptimWrapper,
    DOTOptimWrapper,
    GradAlignAmpOptimWrapper,
    GradAlignOptimWrapper,
)

__all__ = [
    'ClassCheckHook',
    'CurriculumHook',
    'DOTAmpOptimWrapper',
    'DOTOptimWrapper',
    'EpochSeedHook',
    'ExportStudentHook',
    'GradAlignAmpOptimWrapper',
    'GradAlignOptimWrapper',
    'GradientConflictHook',
    'LoadFromHook',
    'LossWeightHook',
    'NeuralCollapseHook',
    'TeacherCheckHook',
]
