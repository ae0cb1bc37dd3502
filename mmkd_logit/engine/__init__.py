"""What changes the training step or watches it."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.engine.hooks import (
    EpochSeedHook,
    ExportStudentHook,
    LossWeightHook,
    TeacherCheckHook,
)

__all__ = ['EpochSeedHook', 'ExportStudentHook', 'LossWeightHook', 'TeacherCheckHook']
