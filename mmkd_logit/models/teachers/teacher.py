"""The frozen model whose logits a student learns from."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import broadcast
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from mmkd_logit.checkpoint import (
    class_names,
    load_strictly,
    read_checkpoint,
    weights_of,
)
from mmkd_logit.compat import config_from
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.models.teachers.normalization import Renormalize
from mmkd_logit.models.teachers.precision import Precision
from mmkd_logit.registry import MODELS
from mmkd_logit.released_names import match_names
from mmkd_logit.rng import side_rng
from mmkd_logit.tasks import Task

_MISSING: Any = object()


class Teacher:
    """A frozen classifier or segmentor, outside the module tree of the distiller.

    It is no ``nn.Module``, so it is in no checkpoint, optimizer, EMA copy or DDP
    bucket, and ``train()`` never reaches it. The distiller passes device and type on
    to it. It is built, and its weights are read, when training starts.

    Args:
        config (str, optional): Config of the teacher: a path, or one of a package as
            ``'mmpretrain::resnet/resnet34_8xb32_in1k.py'``.
        model (dict, optional): Config of its model alone, in place of ``config``.
        checkpoint (str | None): Path or http(s) address of its weights, under
            mmpretrain's names or those of mdistiller, RepDistiller or torchvision.
            Must be given; None means random weights, and warns.
        dtype (str, optional): Floating point type that it runs in, such as 'bfloat16'.
            In 'bfloat16' and 'float16' it runs as in mixed precision: what needs
            float32, such as a norm, keeps it. Defaults to None, that of the student.
        channels_last (bool): Whether it runs in the channels_last memory format.
            Defaults to False.
        compile (bool | dict): Whether it is compiled; a dict holds the arguments of
            ``torch.compile``. Defaults to False.

    Raises:
        ValueError: If not exactly one of ``config`` and ``model`` is given, or
            ``checkpoint`` is missing, or ``dtype`` is another type.
    """

    def __init__(
        self,
        config: str | None = None,
        model: dict | None = None,
        checkpoint: str | None = _MISSING,
        dtype: str | None = None,
        channels_last: bool = False,
        compile: bool | dict = False,
    ) -> None:
        if (config is None) == (model is None):
            raise ValueError(
                "teacher needs one of config (a path, or 'package::path') and model "
                f'(a dict), but got config={config!r} and model={model!r}.'
            )
        if checkpoint is _MISSING:
            raise ValueError(
                'teacher needs a checkpoint: the path or URL of its weights. Say '
                'checkpoint=None if random weights are really meant.'
            )
        self.config = config
        self.model = model
        self.checkpoint = checkpoint
        self.precision = Precision(dtype)
        self.channels_last = channels_last
        self.compile = compile
        self.classes: tuple[str, ...] | None = None
        """Names of its classes, if its checkpoint holds them."""
        self.module: BaseModel | None = None
        self._forward: Callable[..., Any] | None = None
        self._renormalize: Renormalize | None = None

    def __deepcopy__(self, memo: dict) -> Teacher:
        """Copies of the distiller, as EMA makes them, share the teacher."""
        return self

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'teacher {self.config or (self.model or {}).get("type")}'

    @property
    def loaded(self) -> bool:
        """Whether it is built and has its weights."""
        return self.module is not None

    def load(self, student: BaseModel) -> None:
        """Build the model and read its weights; once.

        Args:
            student (BaseModel): The student. The teacher goes to its device and
                type, and undoes its normalization if that differs.

        Raises:
            FileNotFoundError: If the checkpoint does not exist.
            ValueError: If the checkpoint cannot be read or does not fit the model, or
                the model cannot run in ``dtype``.
        """
        if self.loaded:
            return
        model = self._model_config()
        with side_rng():
            module = MODELS.build(model)
        if self.checkpoint is None:
            warnings.warn(f'{self.name} has random weights (checkpoint=None).')
            for value in module.state_dict().values():
                broadcast(value)
        else:
            checkpoint = read_checkpoint(
                self.checkpoint,
                'Train the teacher first, or name its file or address in '
                'teacher.checkpoint.',
            )
            what = f'{self.name}: {self.checkpoint}'
            weights = weights_of(checkpoint, self.checkpoint)
            weights = match_names(weights, module.state_dict(), what)
            load_strictly(module, weights, what)
            self.classes = class_names(checkpoint)
            print_log(f'{self.name}: weights of {self.checkpoint}', logger='current')
        if 'data_preprocessor' in model:
            self._renormalize = Renormalize.between(
                student.data_preprocessor, module.data_preprocessor
            )
        like = next(student.parameters())
        module.requires_grad_(False).to(device=like.device)
        if self.precision.dtype is None:
            module.to(like.dtype)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        self.precision.settle(module)
        self.precision.check(module, like.device, self.name)
        self.module = self._forward = module
        if self.compile:
            options = self.compile if isinstance(self.compile, dict) else {}
            self._forward = torch.compile(module, **options)

    def _model_config(self) -> dict:
        if self.config is None:
            assert self.model is not None
            return copy.deepcopy(self.model)
        cfg = config_from(
            self.config, f'The config of the teacher, teacher.config={self.config!r},'
        )
        model = cfg.model
        if is_distiller(model):
            model = model.student
        model.setdefault('_scope_', cfg.get('default_scope', 'mmengine'))
        if cfg.get('data_preprocessor') is not None:
            model.setdefault('data_preprocessor', cfg.data_preprocessor)
        return model

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follow the distiller to another device or type."""
        if self.module is not None:
            self.module._apply(fn)
            self.precision.settle(self.module)

    def meet(self, task: Task, classes: int) -> None:
        """Check its classes, and tell the task what its maps need."""
        assert self.module is not None, 'Teacher.load() comes first.'
        task.meet_teacher(self.name, self.module, classes)

    def prepare(self, inputs: Tensor) -> Tensor:
        """Images as the student gets them, as the teacher expects them."""
        if self._renormalize is not None:
            inputs = self._renormalize(inputs)
        return inputs.to(
            dtype=self.precision.inputs_like(inputs),
            memory_format=torch.channels_last
            if self.channels_last
            else torch.preserve_format,
        )

    @torch.no_grad()
    def __call__(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor:
        """Logits of preprocessed images.

        Args:
            inputs (Tensor): Images of shape (N, channels, H, W), as the student's
                data preprocessor gives them.
            data_samples (Sequence, optional): The toolbox's data samples; only stored
                teachers look at them. Defaults to None.

        Returns:
            Tensor: Logits of shape (N, C, ...), without gradient.

        Raises:
            TypeError: If the model gives anything but one tensor.
            ValueError: If it cannot run in ``dtype``, and no image that it takes was
                known when it was loaded.
        """
        assert self.module is not None, 'Teacher.load() comes first.'
        assert self._forward is not None
        inputs = self.prepare(inputs)
        self.precision.check_on(self.module, inputs, self.name)
        with self.precision.context(inputs.device):
            logits = self._forward(inputs, mode='tensor')
        if not isinstance(logits, Tensor):
            raise TypeError(
                f'{self.name} must give one tensor of logits, but gave a '
                f'{type(logits).__name__}.'
            )
        return logits

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: Sequence[Any]) -> list[Any]:
        """Predictions of preprocessed images, as the toolbox's evaluator takes them."""
        assert self.module is not None, 'Teacher.load() comes first.'
        inputs = self.prepare(inputs)
        with self.precision.context(inputs.device):
            return self.module(inputs, data_samples, mode='predict')
