"""The frozen teacher, outside the module tree."""

from mmkd_logit.models.teachers.checkpoint import (
    load_strictly,
    read_checkpoint,
    weights_of,
)
from mmkd_logit.models.teachers.teacher import Teacher, side_rng

__all__ = ['Teacher', 'load_strictly', 'read_checkpoint', 'side_rng', 'weights_of']
