"""The teacher once: its logits from a store, in place of the model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd_logit.checkpoint import sha256_of
from mmkd_logit.logit_store import LogitStore, TopRows, plain_settings
from mmkd_logit.models.settings import check_keys
from mmkd_logit.models.teachers.live_views import ViewTeacher
from mmkd_logit.models.teachers.normalization import describe_preprocessor
from mmkd_logit.models.teachers.teacher import Teacher
from mmkd_logit.tasks import Task
from mmkd_logit.views import IN_SAMPLE, KEYS, NO_VIEWS

# How a model runs, not what it says.
_OF_THE_RUN = ('dtype', 'channels_last', 'compile')


def make_teacher(settings: Mapping[str, Any]) -> Teacher | StoredTeacher:
    """The teacher of its settings: a model, or the store that ``cache`` names.

    Raises:
        TypeError: If there is an unknown key.
        ValueError: If a setting is out of its range.
    """
    own = {key: value for key, value in settings.items() if key not in KEYS}
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


class StoredTeacher:
    """Gives the logits that ``tools/cache_teacher.py`` has stored; has no model.

    Args:
        cache (str): Folder of the store. It is opened when training starts.
        settings (dict): Other settings of the teacher. Its model and its checkpoint
            are compared with those that the store was made with; neither is loaded.
    """

    module = None
    """It has no model."""

    def __init__(self, cache: str, settings: Mapping[str, Any] | None = None) -> None:
        self.cache = cache
        self.settings = dict(settings or {})
        self.checkpoint = self.settings.get('checkpoint')
        self.store: LogitStore | None = None
        self.classes: tuple[str, ...] | None = None
        """Names of its classes, if its checkpoint holds them."""
        self.metrics: dict[str, float] | None = None
        """What it reached on the validation set when its logits were stored."""

    def __deepcopy__(self, memo: dict) -> StoredTeacher:
        """Copies of the distiller, as EMA makes them, share it."""
        return self

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'teacher {self.cache}'

    @property
    def loaded(self) -> bool:
        """Whether its store is open."""
        return self.store is not None

    @property
    def tau(self) -> float | None:
        """Temperature of the rest's mass, if only the largest logits are stored."""
        return self.store.record.tau if self.store is not None else None

    def spread(self, top: TopRows) -> Tensor:
        """Logits of all classes, shape (N, C); those that were dropped are equal."""
        assert self.store is not None and self.tau is not None
        return top.spread(self.store.record.shape[0], self.tau)

    def load(self, student: BaseModel) -> None:
        """Open the store, once, and compare it with this run.

        Args:
            student (BaseModel): The student.

        Raises:
            FileNotFoundError: If there is no such store.
            ValueError: If it is damaged, or of another teacher or normalization.
        """
        if self.loaded:
            return
        store = LogitStore(self.cache)
        normalization = describe_preprocessor(student.data_preprocessor)
        store.compare({'normalization': normalization})
        self._compare_teacher(store)
        header = store.header
        self.classes = header['teacher_classes'] and tuple(header['teacher_classes'])
        self.metrics = header['metrics']
        self.store = store
        print_log(
            f'{self.name}: {store.views} views of {store.images:,} images; the teacher '
            'is not loaded',
            logger='current',
        )

    def _compare_teacher(self, store: LogitStore) -> None:
        there, here = store.header['teacher'], describe_teacher(self.settings)
        given, stored = here.pop('checkpoint', None), there.get('checkpoint')
        if here:
            store.compare({'teacher': {**here, 'checkpoint': stored}})
        if 'checkpoint' not in self.settings:
            return
        if given and stored and (given['sha256'] is None) != (stored['sha256'] is None):
            print_log(
                f'{self.name}: whether {given["source"]} is {stored["source"]}, of '
                'which the logits are, is not known: one of them is no file here',
                logger='current',
            )
            return
        # A file may have another name by now.
        if not (given and stored and given['sha256'] == stored['sha256'] is not None):
            store.compare({'teacher': {**there, 'checkpoint': given}})

    def meet(self, task: Task, classes: int) -> None:
        """Check its classes, and tell the task what its maps need."""
        assert self.store is not None
        theirs = self.store.record.shape[0]
        task.meet_stored(self.name, theirs, self.store.header['traits'], classes)

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Its logits go to the images' device in every step."""

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor | TopRows:
        """Logits of a batch.

        Args:
            inputs (Tensor): Images; only their device matters.
            data_samples (Sequence): The toolbox's data samples, which say which view
                of which image they are.

        Returns:
            Tensor | TopRows: Logits of shape (N, C, ...) in float32, or the largest.

        Raises:
            ValueError: If the samples do not say so.
        """
        assert self.store is not None, 'StoredTeacher.load() comes first.'
        places = [sample.get(IN_SAMPLE) for sample in data_samples or ()]
        if not places or None in places:
            raise ValueError(NO_VIEWS)
        found = self.store.read(places)
        if isinstance(found, TopRows):
            return TopRows(*(part.to(inputs.device) for part in found))
        return found.to(inputs.device, non_blocking=True).float()


def describe_teacher(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the header of a store says of a teacher, as far as the settings tell.

    Args:
        settings (dict): Those of a :class:`Teacher`, perhaps without its model or its
            checkpoint.

    Returns:
        dict[str, Any]: ``model``, ``checkpoint`` with the digest of its file.
    """
    kept = {k: v for k, v in settings.items() if k not in (*_OF_THE_RUN, *KEYS)}
    found: dict[str, Any] = {}
    if 'checkpoint' in kept:
        source = kept.pop('checkpoint')
        path = None if source is None else Path(source).expanduser()
        digest = sha256_of(path) if path is not None and path.is_file() else None
        found['checkpoint'] = source and {'source': str(source), 'sha256': digest}
    if kept.get('config') is not None or kept.get('model') is not None:
        kept = {'model': Teacher(**kept, checkpoint=None)._model_config()}
    return {**found, **plain_settings(kept)}


def digest_of_weights(module: nn.Module) -> str:
    """SHA-256 of a model's weights, whatever file they come from."""
    sha256 = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        sha256.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        sha256.update(value.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return sha256.hexdigest()
