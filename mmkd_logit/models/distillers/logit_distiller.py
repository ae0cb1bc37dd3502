"""The model that the Runner trains: a student with its teacher and losses."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd_logit.dist import get_world_size
from mmkd_logit.functional import kendall_tau
from mmkd_logit.functional._checks import check_finite
from mmkd_logit.logit_store import TopRows
from mmkd_logit.models.distillers.step_monitor import (
    StepMonitor,
    forget_stale_losses,
    images_per_epoch,
)
from mmkd_logit.models.settings import build_part, check_keys, is_distiller
from mmkd_logit.models.teachers import StoredTeacher, build_teacher
from mmkd_logit.modules import LogitTap
from mmkd_logit.modules.losses import LogitLoss, losses_of, touch
from mmkd_logit.registry import MODELS
from mmkd_logit.rng import side_rng
from mmkd_logit.structures import LogitRows, LogitStrips
from mmkd_logit.tasks import (
    check_tap,
    find_logit_layer,
    layer_channels,
    refuse_detector,
    task_of,
)
from mmkd_logit.views import takes_views


@MODELS.register_module()
class LogitDistiller(BaseModel):
    """Trains a student on its own task and on the logits of a frozen teacher.

    In training it adds distillation losses to the student's own. In validation and
    testing it behaves as the student and needs no teacher.

    Args:
        student (dict): Config of the student, an ordinary mmpretrain classifier or
            mmseg segmentor.
        teacher (dict | list[dict]): Settings of :class:`Teacher`: its source, such as
            ``config``, and ``checkpoint``; also ``cache``, the folder of its stored
            logits, which then replace it, or ``views``, the number of views that the
            training set shows to the live teacher, and ``view_seed``. A list holds the
            settings of several teachers, each with ``weight`` and ``name`` in addition,
            see :class:`Teachers`.
        losses (dict[str, dict]): Configs of the distillation losses by name. Each is
            logged as ``loss_<name>``.
        aux_head (dict, optional): Config of DHKD's auxiliary head, to which losses
            with ``head='aux'`` apply. Its ``in_channels`` and ``num_classes`` are
            filled in. Defaults to None.
        task_loss_weight (float): Factor of the student's own losses. At 0 they are
            logged, with ``task`` in place of ``loss``, but not trained on. Defaults
            to 1.0.
        logit_layer (str, optional): Name of the student's last layer, such as
            ``'head.fc'``. Defaults to None: it is found in the usual heads.
        resolution (str): Resolution at which a segmentor's pixels become rows:
            'student', that of the student's logits, or 'label', that of the label map.
            Defaults to 'student'.
        kendall_tau_rows (int): Maximum number of rows per step, drawn at random, on
            which Kendall's tau between student and teacher is computed and logged as
            ``kendall_tau``. Defaults to 0: it is not logged.
        teacher_average (str): What is averaged over several teachers: 'logits' or
            'probabilities'. Defaults to 'logits'.
        data_preprocessor (dict, optional): Config of the student's data
            preprocessor, if it is not in ``student``. The Runner fills it in.
            Defaults to None.
        init_cfg (dict, optional): Initialization of the weights. Defaults to None.

    Raises:
        TypeError: If a config has a key that its class does not take.
        ValueError: If the parts do not fit together: no losses, a loss on
            ``head='aux'`` without ``aux_head`` or the reverse, a last layer that cannot
            be found, a loss that needs labels with mixup or CutMix, a per-pixel loss
            with a classifier.
    """

    renamed: ClassVar[Mapping[str, str]] = {'at': 'Write resolution instead.'}
    """Keys that older releases accepted, each with what to write instead."""

    def __init__(
        self,
        student: dict,
        teacher: dict | list[dict],
        losses: dict[str, dict],
        aux_head: dict | None = None,
        task_loss_weight: float = 1.0,
        logit_layer: str | None = None,
        resolution: str = 'student',
        kendall_tau_rows: int = 0,
        teacher_average: str = 'logits',
        data_preprocessor: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
        **unknown: Any,
    ) -> None:
        if unknown:
            check_keys(type(self), unknown, 'LogitDistiller')
        if is_distiller(student):
            raise ValueError(
                'The student is the config of a LogitDistiller itself, but must be an '
                'ordinary model. The pairs in configs/_base_/pairs build the '
                'distiller: in a config that inherits from one, write '
                'model = _base_.method.'
            )
        student = copy.deepcopy(dict(student))
        if data_preprocessor is not None:
            student.setdefault('data_preprocessor', data_preprocessor)
        refuse_detector(student, 'The student')
        student_model = MODELS.build(student)
        refuse_detector(student_model, 'The student')
        super().__init__(student_model.data_preprocessor, init_cfg)
        self.student = student_model
        task = task_of(student_model)
        task.check_activation(student_model, 'The student')
        self.logit_layer = find_logit_layer(student_model, logit_layer)
        self.task = task(student_model, resolution)
        self.teacher = build_teacher(teacher, teacher_average)
        self._shows_views = takes_views(teacher)
        self.class_names: tuple[str, ...] | None = None
        """Names of the classes of the training set; ``TeacherCheckHook`` sets them."""
        self._owns_teacher = True
        in_channels, num_classes = layer_channels(self._last_layer())
        known = {'in_channels': in_channels, 'num_classes': num_classes}
        self.losses = _build_losses(losses, known)
        self.aux_head: nn.Module | None = None
        if aux_head is not None:
            with side_rng():
                self.aux_head = build_part(aux_head, 'aux_head', known)
        self.task_loss_weight = task_loss_weight
        self.kendall_tau_rows = kendall_tau_rows
        self._monitor = StepMonitor(self.teacher.name)
        self._begun = False
        self._check_parts()

    def _last_layer(self) -> nn.Module:
        return self.student.get_submodule(self.logit_layer)

    def _check_parts(self) -> None:
        heads = {name: loss.head for name, loss in self.named_losses()}
        on_aux = [name for name, head in heads.items() if head == 'aux']
        if on_aux and self.aux_head is None:
            raise ValueError(
                f"Losses {on_aux} have head='aux', but there is no aux_head. Add "
                "aux_head=dict(type='LinearLogitHead'), or set head='main'."
            )
        if self.aux_head is not None and not on_aux:
            raise ValueError(
                f'There is an aux_head, but none of the losses {list(heads)} has '
                "head='aux': it would learn nothing. Set head='aux' or remove aux_head."
            )
        takes = getattr(self.aux_head, 'feature_ndim', None)
        if takes is not None and self.task.feature_ndim not in takes:
            maps = self.task.feature_ndim == 4
            raise ValueError(
                f'aux_head is a {type(self.aux_head).__name__}, which takes '
                f'{"vectors" if maps else "maps"}, but the last layer of the '
                f'{type(self.student).__name__} gets {"maps" if maps else "vectors"}. '
                f'Use {"ConvLogitHead" if maps else "LinearLogitHead"}, or '
                'MLPLogitHead.'
            )
        if self.kendall_tau_rows < 0:
            raise ValueError(
                f'kendall_tau_rows must be 0 or more, but got {self.kendall_tau_rows}.'
            )
        check_finite('task_loss_weight', self.task_loss_weight)
        if self.task_loss_weight < 0:
            raise ValueError(
                f'task_loss_weight must not be negative, but got '
                f'{self.task_loss_weight}.'
            )
        if self.task_loss_weight == 0 and len(on_aux) == len(heads):
            raise ValueError(
                "task_loss_weight=0 and no loss with head='main': the student's own "
                'classifier would learn nothing.'
            )
        if self._shows_views and self._batch_augments():
            raise ValueError(
                'teacher.cache and teacher.views need the images that the pipeline '
                'outputs, but the student trains with batch augments, such as mixup, '
                'which change them later. Remove student.train_cfg.augments, or run '
                'the teacher live without views.'
            )
        spatial = [name for name, loss in self.named_losses() if loss.needs_pixels]
        if spatial and self.task.feature_ndim != 4:
            raise ValueError(
                f'Losses {spatial} compare the pixels of an image, but a '
                f'{type(self.student).__name__} outputs one row of logits per image, '
                'so they would always be 0. Use a loss on rows, such as KDLoss.'
            )
        needy = [name for name, loss in self.named_losses() if loss.needs_labels]
        if needy and self._mixes_images():
            raise ValueError(
                f'Losses {needy} need one label per image, but the student trains '
                'with mixup or CutMix (batch augments), which blend labels. Remove '
                'the losses or student.train_cfg.augments; MCLDLoss needs no labels '
                'without category and mask_same_class.'
            )

    def named_losses(self) -> list[tuple[str, LogitLoss]]:
        """Return the distillation losses under their names in the config."""
        return list(self.losses.items())  # type: ignore[arg-type]

    @property
    def distils(self) -> bool:
        """Whether any distillation loss has a weight now; if none, no teacher runs."""
        return any(loss.weight != 0 for _, loss in self.named_losses())

    def split_losses(
        self, losses: dict[str, Any]
    ) -> tuple[Tensor | None, Tensor | None]:
        """Sum the student's own losses and the distillation losses separately.

        Args:
            losses (dict[str, Tensor]): What :meth:`loss` returns.

        Returns:
            tuple[Tensor | None, Tensor | None]: Two scalars that add up to the total of
            ``parse_losses``. The first is None if ``task_loss_weight`` is 0 or no image
            has a label, the second if all distillation losses have weight 0.
        """
        names = [f'loss_{name}' for name in self.losses]
        distill = {name: losses[name] for name in names}
        task = {name: losses[name] for name in losses if name not in names}
        # Unlabelled images have no task loss.
        has_task = any('loss' in name for name in task)
        return (
            self.parse_losses(task)[0] if has_task else None,
            self.parse_losses(distill)[0] if self.distils else None,
        )

    def _batch_augments(self) -> list[Any]:
        found = getattr(self.data_preprocessor, 'batch_augments', None) or []
        found = getattr(found, 'augments', found)  # mmpretrain draws one of several
        return found if isinstance(found, list) else [found]

    def _mixes_images(self) -> bool:
        """Whether batch augments blend images: all but those that resize or pad."""
        names = [type(augment).__name__ for augment in self._batch_augments()]
        return not all(name.endswith(('Resize', 'Pad')) for name in names)

    def init_weights(self) -> None:
        """Initialize the student and the auxiliary head, and load the teacher.

        Raises:
            FileNotFoundError: If the teacher's checkpoint does not exist.
            ValueError: If it does not fit the teacher, or teacher and student differ
                in their number of classes.
        """
        super().init_weights()
        self.load_teacher()

    def load_teacher(self) -> None:
        """Load the teacher, or open its stored logits, and check that it fits.

        Raises:
            FileNotFoundError: If its checkpoint or its store does not exist.
            ValueError: If the checkpoint does not fit the teacher, or teacher and
                student differ in their number of classes.
        """
        self.teacher.load(self.student)
        classes = layer_channels(self._last_layer())[1]
        if isinstance(self.teacher, StoredTeacher):
            self.teacher.meet(classes)
            self.task.meet_stored(self.teacher.traits)
            if self.teacher.tau is not None:
                self._check_top_k(self.teacher.tau)
            return
        modules = []
        for teacher in self.teacher.members.values():
            assert teacher.module is not None
            theirs = self.task.count_classes(teacher.module)
            teacher.meet(classes, self.class_names, theirs, self.task.feature_ndim)
            modules.append(teacher.module)
        self.task.meet_teachers(modules)

    def _check_top_k(self, tau: float) -> None:
        if self.kendall_tau_rows > 0:
            raise ValueError(
                'kendall_tau_rows needs every logit of the teacher, but the store '
                'keeps only the largest (top_k). Set kendall_tau_rows=0.'
            )
        for name, loss in self.named_losses():
            if loss.check_top_k() != tau:
                raise ValueError(
                    f'losses.{name} has tau={loss.tau}, but the store keeps the mass '
                    f'of small logits at tau={tau}. Set tau={tau}, or store the logits '
                    f'again with --tau {loss.tau}.'
                )

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[Any] | None = None,
        mode: str = 'tensor',
    ) -> Any:
        """Return the distiller's losses in mode 'loss', else the student's output.

        Args:
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (list, optional): The toolbox's data samples. Defaults to
                None.
            mode (str): 'loss', 'predict' or 'tensor'. Defaults to 'tensor'.

        Returns:
            dict[str, Tensor] | list | Tensor: As the student returns it.
        """
        if mode == 'loss':
            assert data_samples is not None
            return self.loss(inputs, data_samples)
        return self.student(inputs, data_samples, mode=mode)

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Any]:
        """Compute the student's own losses, the distillation losses and statistics.

        Args:
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (list): The toolbox's data samples.

        Returns:
            dict[str, Tensor]: Scalars. Those with 'loss' in their name are summed. A
            loss of the student named just 'loss' becomes 'loss_task', because the
            log calls the sum 'loss'.

        Raises:
            RuntimeError: If the teacher's logits are not finite, or the student's
                last layer does not run exactly once.
            ValueError: In the first step, if teacher or student predict something
                other than the softmax of the logits that are compared.
        """
        if not self._begun:
            task_type, layer = type(self.task), self.logit_layer
            check_tap(task_type, self.student, layer, inputs, data_samples)
        labels = self.task.read_labels(inputs, data_samples)
        teacher = self._ask_teacher(inputs, data_samples)
        with LogitTap(self._last_layer(), self.logit_layer) as tap:
            task = self.task.run_student(self.student, inputs, data_samples, labels)
        losses = self._weighted_task(task)
        self._begin(len(data_samples), losses)
        if teacher is None:
            if self.aux_head is not None:
                self._monitor.see_resting_head()
            resting = {f'loss_{name}': touch(self) for name in self.losses}
            return losses | resting | self._statistics_of_losses()

        aux = self.aux_head(tap.feature) if self.aux_head is not None else None
        logits, top = teacher
        rows = self.task.make_rows(
            tap.logits, logits, aux, data_samples, labels, self._mixes_images()
        )
        if isinstance(rows, LogitRows) and top is not None:
            rows = replace(rows, top=top)
        self._check_labels(rows)
        if isinstance(rows, LogitRows) and rows.members:
            rows = replace(rows, teacher=self.teacher.average(rows.members))
        names, parts = zip(*self.named_losses())
        *values, agreement = losses_of(parts, rows, [_agreement_of_rows])
        distill = {f'loss_{name}': value for name, value in zip(names, values)}
        if self.task_loss_weight == 0 or not task:
            first = next(iter(distill))
            distill[first] = distill[first] + touch(self.student)
        self._monitor.see_rows(rows)
        if self.task.feature_ndim == 4:
            self._monitor.see_labels(rows, len(data_samples))
        statistics = {'teacher_agreement': agreement}
        statistics |= self._agreement_of_members(rows) | self._statistics_of_losses()
        if self.kendall_tau_rows > 0:
            statistics['kendall_tau'] = _mean_tau(rows, self.kendall_tau_rows)
        return losses | distill | statistics

    def _begin(self, images: int, task: Mapping[str, Any]) -> None:
        """Finish the setup in the first step, once the Runner is ready."""
        if self._begun:
            return
        self._begun = True
        for _, loss in self.named_losses():
            warning = loss.begin(images_per_epoch(images * get_world_size()))
            if warning is not None:
                print_log(warning, logger='current', level=logging.WARNING)
        logged = [*task, *(f'loss_{name}' for name in self.losses)]
        logged += self._statistics_of_losses()
        if self.kendall_tau_rows > 0:
            logged.append('kendall_tau')
        if task:  # else their names are known once an image has a label
            forget_stale_losses(logged)

    def _check_labels(self, rows: LogitRows | LogitStrips) -> None:
        needy = [name for name, loss in self.named_losses() if loss.needs_labels]
        if rows.labels is None and needy and len(rows) > 0:
            raise ValueError(
                f'Losses {needy} need one label per image or pixel, but some images '
                'in the batch have none. Remove the losses or the images; MCLDLoss '
                'needs no labels without category and mask_same_class.'
            )

    def _ask_teacher(
        self, inputs: Tensor, data_samples: list[Any]
    ) -> tuple[Tensor | list[Tensor | None], Tensor | None] | None:
        """Run one or more teachers; return None while distillation is off.

        The second item holds the classes of the largest logits if only those are known.
        """
        if not self.distils:
            return None
        logits, top = self.teacher(inputs, data_samples), None
        if isinstance(logits, TopRows):
            top = logits.indices
            logits = self.teacher.spread(logits)
        several = [logits] if isinstance(logits, Tensor) else logits
        self._monitor.see_teacher(
            [each for each in several if each is not None], inputs
        )
        return logits, top

    def teacher_predictions(self, inputs: Tensor, data_samples: list[Any]) -> list[Any]:
        """Return the teacher's predictions in the form that the evaluators take.

        Args:
            inputs (Tensor): Preprocessed images, shape (N, channels, H, W).
            data_samples (list): The toolbox's data samples.

        Returns:
            list: Data samples with predictions, of the average if there are several
            teachers.
        """
        if self.teacher.predicts:
            samples = self.teacher.predict(inputs, data_samples)
            if isinstance(samples, list):
                return samples
        logits = self.teacher(inputs)
        several = [logits] if isinstance(logits, Tensor) else logits
        several = self.task.at_image_size(several, inputs)
        average = self.teacher.average(several)
        return self.task.predictions(self.student, average, data_samples)

    def teacher_step(self, data: dict[str, Any]) -> list[Any]:
        """Return the teacher's predictions on a batch, as the student's ``test_step``.

        Args:
            data (dict): A batch from the data loader.

        Returns:
            list: Data samples with predictions.
        """
        data = self.data_preprocessor(data, False)
        return self.teacher_predictions(data['inputs'], data['data_samples'])

    def _weighted_task(self, task: Mapping[str, Any]) -> dict[str, Any]:
        weight = self.task_loss_weight
        losses: dict[str, Any] = {}
        for key, value in task.items():
            if 'loss' not in key:
                losses[key] = value
            elif weight == 0:
                losses[key.replace('loss', 'task')] = _each(value, Tensor.detach)
            else:
                name = 'loss_task' if key == 'loss' else key
                losses[name] = _each(value, lambda part: part * weight)
        taken = [name for name in self.losses if f'loss_{name}' in losses]
        if taken:
            raise ValueError(
                f'The student already has losses named like {taken}. Give the '
                'distillation losses other names.'
            )
        return losses

    def _agreement_of_members(self, rows: LogitRows | LogitStrips) -> dict[str, Tensor]:
        if isinstance(rows, LogitStrips):
            return {}
        return {
            f'teacher_agreement_{name}': _agreement(rows.student, logits)
            for name, logits in zip(self.teacher.members, rows.members)
            if logits is not None
        }

    def _statistics_of_losses(self) -> dict[str, Tensor]:
        # mmengine sums everything with 'loss' in its name.
        return {
            f'{name}_{key}'.replace('loss', 'distill'): value
            for name, loss in self.named_losses()
            for key, value in loss.statistics().items()
        }

    def __getattr__(self, name: str) -> Any:
        """Return what only the student has, such as ``backbone`` or ``decode_head``.

        The toolboxes' hooks, memory savers and test-time augmentation look up a model's
        parts there.
        """
        try:
            return super().__getattr__(name)
        except AttributeError:
            student = self._modules.get('student')
            if name.startswith('_') or not hasattr(student, name):
                raise
            return getattr(student, name)

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Return the depth of a parameter for layer-wise learning rates.

        Args:
            param_name (str): Name of a parameter of the distiller.

        Returns:
            tuple[int, int]: Its depth in the student, and the number of depths. The
            auxiliary head has the depth of the student's last layer.
        """
        name = param_name.removeprefix('student.')
        if name == param_name:
            name = self.logit_layer
        return self.student.get_layer_depth(name)

    def _apply(self, fn: Callable, recurse: bool = True) -> LogitDistiller:
        super()._apply(fn, recurse)
        if self._owns_teacher:
            self.teacher._apply(fn)
        return self

    def __deepcopy__(self, memo: dict) -> LogitDistiller:
        """Copy the model for EMA; the copy shares the teacher, but never moves it."""
        copied = type(self).__new__(type(self))
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        copied.__dict__['_owns_teacher'] = False
        return copied

    def _load_from_state_dict(
        self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Also accept the checkpoint of a plain student, for testing for example."""
        student = f'{prefix}student.'
        if not any(key.startswith(student) for key in state_dict):
            for key in [key for key in state_dict if key.startswith(prefix)]:
                state_dict[student + key.removeprefix(prefix)] = state_dict.pop(key)
            # Keep everything that a plain student does not have.
            for key, value in self.state_dict(prefix=prefix).items():
                if not key.startswith(student):
                    state_dict[key] = value
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@torch.no_grad()
def _agreement(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the share of rows with the same top-1 class."""
    same = student.argmax(1) == teacher.argmax(1)
    return same.sum() / max(1, len(student))


def _agreement_of_rows(rows: LogitRows) -> Tensor:
    """Return the agreement of student and teacher."""
    return _agreement(rows.student, rows.teacher)


@torch.no_grad()
def _mean_tau(rows: LogitRows | LogitStrips, count: int) -> Tensor:
    """Return the mean Kendall's tau over at most ``count`` random rows."""
    if len(rows) > count:
        # Evenly spaced rows could all lie in one column of pixels.
        draw = torch.Generator().manual_seed(0)
        some = torch.randint(len(rows), (count,), generator=draw)
        rows = rows.take(some.to(rows.source('main').device))
    student, teacher = rows.whole.student, rows.whole.teacher
    if not student.isfinite().all():  # a gradient scaler may recover from this
        return student.new_tensor(math.nan)
    return kendall_tau(student, teacher).sum() / max(1, len(student))


def _each(value: Any, fn: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to a loss, or to each of a list of losses."""
    return fn(value) if isinstance(value, Tensor) else [fn(part) for part in value]


def _build_losses(losses: Mapping[str, dict], known: dict[str, int]) -> nn.ModuleDict:
    if not isinstance(losses, Mapping) or not losses:
        raise ValueError(
            'losses must name at least one loss, such as '
            f"losses=dict(kd=dict(type='KDLoss')), but got {losses!r}."
        )
    built = nn.ModuleDict()
    for name, settings in losses.items():
        if name == 'task':
            raise ValueError(
                "A loss may not be named 'task': in the log, loss_task is the "
                "student's own loss. Give it another name."
            )
        if not name or '.' in name or hasattr(built, name):
            raise ValueError(
                f'A loss may not be named {name!r}, which torch does not allow or '
                'already uses. Give it another name.'
            )
        built[name] = build_part(settings, f'losses.{name}', known)
        if not isinstance(built[name], LogitLoss):
            raise TypeError(
                f'losses.{name} is a {type(built[name]).__name__}, but must be a '
                'LogitLoss of mmkd_logit.models, or a subclass of it that '
                'implements compute().'
            )
    return built
