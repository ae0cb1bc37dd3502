"""The frozen teacher, outside the module tree."""

from mmkd_logit.models.teachers.teacher import Teacher

__all__ = ['Teacher']
