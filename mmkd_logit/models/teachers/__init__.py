"""One or more frozen teachers, outside the module tree."""

from mmkd_logit.models.teachers.build import build_teacher
from mmkd_logit.models.teachers.ensemble import Teachers
from mmkd_logit.models.teachers.stored import StoredTeacher
from mmkd_logit.models.teachers.teacher import Teacher

__all__ = ['StoredTeacher', 'Teacher', 'Teachers', 'build_teacher']
