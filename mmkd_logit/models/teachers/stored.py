"""A teacher replaced by its stored logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from mmkd_logit.logit_store import LogitStore, TopRows
from mmkd_logit.models.teachers.description import SHA, describe_teacher
from mmkd_logit.models.teachers.normalization import describe_preprocessor
from mmkd_logit.views import IN_SAMPLE, NO_VIEWS


class StoredTeacher:
    """Returns the logits that ``tools/cache_teacher.py`` has stored; has no model.

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
        """Names of its classes, if its source provided them."""
        self.class_map: Any = None
        """How they were matched with the student's when the logits were stored."""
        self.metrics: dict[str, float] | None = None
        """Its metrics on the validation set when the logits were stored."""

    def __deepcopy__(self, memo: dict) -> StoredTeacher:
        """Return itself: copies of the distiller, as EMA makes them, share it."""
        return self

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f'teacher {self.cache}'

    @property
    def members(self) -> dict[str, StoredTeacher]:
        """The teachers that it consists of, by name: only itself."""
        return {'': self}

    @property
    def loaded(self) -> bool:
        """Whether its store is open."""
        return self.store is not None

    @property
    def tau(self) -> float | None:
        """Temperature of the remaining mass if only the largest logits are stored."""
        return self.store.record.tau if self.store is not None else None

    @property
    def traits(self) -> dict[str, Any]:
        """What the task must know about its logits."""
        assert self.store is not None
        return self.store.header['traits']

    def spread(self, top: TopRows) -> Tensor:
        """Return logits of all classes, shape (N, C); the dropped ones are equal."""
        assert self.store is not None and self.tau is not None
        return top.spread(self.store.record.shape[0], self.tau)

    def load(self, student: BaseModel) -> None:
        """Open the store once, and check that it fits this run.

        Args:
            student (BaseModel): The student.

        Raises:
            FileNotFoundError: If there is no such store.
            ValueError: If it is damaged, or made with another teacher or normalization.
        """
        if self.loaded:
            return
        store = LogitStore(self.cache)
        normalization = describe_preprocessor(student.data_preprocessor)
        store.compare({'normalization': normalization})
        self._compare_teacher(store)
        header = store.header
        self.classes = header['teacher_classes'] and tuple(header['teacher_classes'])
        self.class_map = header['teacher'].get('class_map')
        self.metrics = header['metrics']
        self.store = store
        print_log(
            f'{self.name}: {store.views} views of {store.images:,} images; the teacher '
            'is not loaded',
            logger='current',
        )

    def _compare_teacher(self, store: LogitStore) -> None:
        there, here = store.header['teacher'], describe_teacher(self.settings)
        changed = {
            key: value
            for key, value in here.items()
            if not self._is_same_file(key, value, there.get(key))
        }
        store.compare({'teacher': {**there, **changed}})

    def _is_same_file(self, key: str, here: Any, there: Any) -> bool:
        """Return whether two descriptions are of the same file, as far as is known.

        Raises:
            ValueError: If the checkpoint is not here, and not the one of the store.
        """
        if not all(
            isinstance(file, Mapping) and file.keys() == {'source', SHA}
            for file in (here, there)
        ):
            return False
        digests, names = [here[SHA], there[SHA]], [here['source'], there['source']]
        if None not in digests:
            return digests[0] == digests[1]  # it may have another name by now
        renamed = names[0] != names[1]
        if renamed and key != 'checkpoint':
            return False
        if renamed and digests[0] is None:
            raise ValueError(
                f'teacher.checkpoint is {names[0]}, which is not a file here, so it '
                f'cannot be compared with {names[1]}, which the logits in {self.cache} '
                'are from. Correct it, or remove it: they are read without it.'
            )
        if digests != [None, None]:
            print_log(
                f'{self.name}: cannot check that {names[0]} is {names[1]}, which the '
                'logits are from: one of them is not a file here',
                logger='current',
            )
        return True

    def meet(self, classes: int) -> None:
        """Check the number of classes of its logits.

        Raises:
            ValueError: If they have another number.
        """
        assert self.store is not None
        theirs = self.store.record.shape[0]
        if theirs != classes:
            raise ValueError(
                f'The logits in {self.cache} have {theirs} classes, but the student '
                f'has {classes}. Store them again for this student with '
                'tools/cache_teacher.py.'
            )

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Do nothing: its logits move to the images' device in every step."""

    def __call__(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor | TopRows:
        """Read the logits of a batch.

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
