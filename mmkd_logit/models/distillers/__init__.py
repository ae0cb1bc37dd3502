"""The one model that the Runner trains."""

from mmkd_logit.models.distillers.logit_distiller import LogitDistiller
from mmkd_logit.models.distillers.logit_tap import LogitTap, find_logit_layer
from mmkd_logit.models.distillers.student_checkpoint import (
    student_checkpoint,
    student_weights,
)

__all__ = [
    'LogitDistiller',
    'LogitTap',
    'find_logit_layer',
    'student_checkpoint',
    'student_weights',
]
