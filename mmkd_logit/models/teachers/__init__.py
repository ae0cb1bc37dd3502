"""The frozen teacher, outside the module tree."""

from mmkd_logit.models.teachers.stored import StoredTeacher, make_teacher
from mmkd_logit.models.teachers.teacher import Teacher

__all__ = ['StoredTeacher', 'Teacher', 'make_teacher']
