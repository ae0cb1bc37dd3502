"""The frozen teacher, or several, outside the module tree."""

from mmkd_logit.models.teachers.ensemble import Teachers
from mmkd_logit.models.teachers.teacher import Teacher

__all__ = ['Teacher', 'Teachers']
