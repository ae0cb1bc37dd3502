"""Views: augmentations that are the same each time an image is shown.

View ``v`` of image ``i`` is what the training pipeline makes of it when all random
generators are seeded from (seed, v, i). Epoch ``e`` of training uses view
``e mod views``. This module rewrites the config of a data loader;
``mmkd_logit.datasets`` contains the classes that it names.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

DATASET, SAMPLER = 'mmkd_logit.ViewDataset', 'mmkd_logit.ViewSampler'
KEYS = ('cache', 'views', 'view_seed', 'check_images')
"""Settings of a teacher that concern views."""
IN_SAMPLE = 'teacher_view'
"""Field of a data sample with its view and its index in the dataset."""

NO_VIEWS = (
    'The data samples do not say which view they show, but teacher.cache and '
    'teacher.views need it. Build the Runner with mmkd_logit.apis.build_runner, as '
    'tools/train.py does, which adds it to the samples of the training set.'
)


def takes_views(teacher: Any) -> bool:
    """Return whether the settings of a teacher ask for views."""
    return isinstance(teacher, Mapping) and (
        teacher.get('cache') is not None or teacher.get('views') is not None
    )


def without_view_keys(teacher: Any) -> Any:
    """Return the settings of a live teacher without those that concern views.

    Args:
        teacher (dict | list[dict]): Settings of a teacher, or of several, which never
            concern views.
    """
    if not isinstance(teacher, Mapping):
        return teacher
    return {key: value for key, value in teacher.items() if key not in KEYS}


def with_views(loader: Mapping[str, Any], teacher: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a data loader that yields views.

    Args:
        loader (dict): Config of the training data loader.
        teacher (dict): Settings of the teacher.

    Returns:
        dict: A copy, in which the dataset and the sampler are wrapped.

    Raises:
        ValueError: If the loader has ``num_batch_per_epoch`` or no sampler of its own.
    """
    plain = without_views(loader)
    if plain.get('num_batch_per_epoch') is not None or 'sampler' not in plain:
        raise ValueError(
            'teacher.cache and teacher.views need a train_dataloader with a sampler '
            'and without num_batch_per_epoch, so that an epoch sees every image once.'
        )
    dataset = {key: teacher[key] for key in KEYS if teacher.get(key) is not None}
    plain['dataset'] = dict(type=DATASET, dataset=plain['dataset'], **dataset)
    plain['sampler'] = dict(type=SAMPLER, sampler=plain['sampler'])
    return plain


def without_views(loader: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a data loader as it was before :func:`with_views`."""
    plain = copy.deepcopy(dict(loader))
    for part, kind in (('dataset', DATASET), ('sampler', SAMPLER)):
        if isinstance(plain.get(part), Mapping) and plain[part].get('type') == kind:
            plain[part] = plain[part][part]
    return plain
