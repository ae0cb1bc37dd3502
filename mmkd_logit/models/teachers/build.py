"""Construction of a teacher from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmkd_logit.models.settings import check_keys
from mmkd_logit.models.teachers.ensemble import Teachers
from mmkd_logit.models.teachers.live_views import ViewTeacher
from mmkd_logit.models.teachers.stored import StoredTeacher
from mmkd_logit.models.teachers.teacher import Teacher
from mmkd_logit.views import without_view_keys


def build_teacher(settings: Any, average: str = 'logits') -> Any:
    """Build a teacher from its settings: one model, several, or stored logits.

    Args:
        settings (dict | list[dict]): Settings of :class:`Teacher`, with ``cache``,
            ``views``, ``view_seed`` and ``check_images`` in addition; or a list, the
            settings of :class:`Teachers`.
        average (str): What is averaged over several teachers. Defaults to 'logits'.

    Returns:
        Teacher | Teachers | StoredTeacher: The teacher, not loaded yet.

    Raises:
        TypeError: If there is an unknown key.
        ValueError: If a setting is out of range.
    """
    if isinstance(settings, list | tuple):
        return Teachers(settings, average)
    if not isinstance(settings, Mapping):
        raise ValueError(
            'teacher must be a dict with a config and a checkpoint, or a list of such '
            f'dicts, but got {settings!r}. To train the student alone, train with its '
            'own config.'
        )
    if average != 'logits':
        raise ValueError(
            f'teacher_average={average!r} needs a list of teachers, but got one.'
        )
    own = without_view_keys(settings)
    check_keys(Teacher, own, 'teacher')
    views, seed = settings.get('views'), settings.get('view_seed')
    if views is not None and (not isinstance(views, int) or views < 1):
        raise ValueError(
            f'teacher.views must be an integer of 1 or more, but got {views!r}.'
        )
    if settings.get('cache') is not None:
        return StoredTeacher(settings['cache'], own)
    if views is None and (seed is not None or 'check_images' in settings):
        raise ValueError(
            'teacher.view_seed and teacher.check_images need teacher.cache, the folder '
            'of stored logits, or teacher.views, the number of views.'
        )
    return Teacher(**own) if views is None else ViewTeacher(**own)
