"""The frozen model whose logits a student learns from."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from mmengine.dist import broadcast
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd_logit.models.teachers.classes import match_classes
from mmkd_logit.models.teachers.normalization import Renormalize
from mmkd_logit.models.teachers.precision import Precision
from mmkd_logit.models.teachers.preprocessing import (
    Images,
    Resize,
    images_for,
    read_preprocess,
    read_resize,
    with_settings,
)
from mmkd_logit.models.teachers.sources import (
    FILES,
    SOURCES,
    TOOLBOX,
    Found,
    LogitModel,
    Request,
    builder_of,
    pick_output,
)
from mmkd_logit.rng import side_rng
from mmkd_logit.tasks import check_prediction, refuse_detector, task_of

_MISSING: Any = object()
# Sigmoids of a trained model come below this value, logits above 0 hardly.
_RARE = 0.01


class _Wanted(NamedTuple):
    """What the student requires of the logits."""

    classes: int
    names: Sequence[str] | None
    ndim: int


class Teacher:
    """A frozen classifier or segmentor, outside the module tree of the distiller.

    It is not an ``nn.Module``, so it is in no checkpoint, optimizer, EMA copy or DDP
    bucket, and ``train()`` never reaches it. It follows the distiller to other devices
    and types. It is built, and its weights are loaded, when training starts.

    Exactly one of ``config``, ``model``, ``timm``, ``huggingface``, ``torchvision``,
    ``exported`` and ``onnx`` names the model.

    Args:
        config (str, optional): Config of the teacher: a path, or one of a package, such
            as ``'mmpretrain::resnet/resnet34_8xb32_in1k.py'``.
        model (dict, optional): Config of its model alone, instead of ``config``.
        checkpoint (str | None): Path or http(s) address of its weights, also as
            ``.safetensors``. With ``config`` and ``model``, parameters may have the
            names of mmpretrain, mdistiller, RepDistiller or torchvision; with other
            libraries, their own. Required for ``config`` and ``model``; without it,
            ``timm`` and ``huggingface`` use the pretrained weights of the named model,
            and ``torchvision`` those of ``weights``. None means random weights, with a
            warning.
        dtype (str, optional): Floating-point type that it runs in, such as 'bfloat16'.
            'bfloat16' and 'float16' work like mixed precision: operations that need
            float32, such as normalization, keep it. Defaults to None, the student's.
        channels_last (bool): Whether it runs in the channels_last memory format.
            Defaults to False.
        compile (bool | dict): Whether it is compiled; a dict holds the arguments of
            ``torch.compile``. Defaults to False.
        timm (str, optional): Name of a timm model, such as 'resnet50.a1_in1k', or a
            folder in timm's own format.
        huggingface (str, optional): Repository of an image classifier or semantic
            segmentor on the Hugging Face hub, or a folder written by
            ``save_pretrained``.
        torchvision (str, optional): Name of a torchvision model, such as 'resnet34'.
        weights (str, optional): Weights of torchvision, such as 'IMAGENET1K_V1'.
        exported (str, optional): File of a ``torch.export`` program, ``.pt2``.
        onnx (str, optional): File of an ONNX model, ``.onnx``.
        options (dict, optional): Further arguments of the library's builder, such as
            ``dict(num_classes=10)``.
        preprocess (dict | str, optional): Preprocessing that the library does not
            specify, or specifies wrongly: ``mean`` and ``std``, for pixels from 0 to
            255, ``channels`` ('rgb' or 'bgr', defaults to 'rgb'), ``interpolation``
            ('nearest', 'bilinear' or 'bicubic'), and ``student_channels``, the
            student's order of channels. 'student': the teacher gets the student's
            images unchanged. Required for ``exported`` and ``onnx``.
        resize (str | int | Sequence[int], optional): Size of the teacher's images:
            'auto', the size of a teacher that takes no other; an integer or (height,
            width); None, the student's. Defaults to 'auto'.
        output (str | int, optional): Name or index of the logits, if the model has
            several outputs.
        class_map (str | dict | list, optional): The teacher's class for each class of
            the student: a list of indices or names; 'names', matched by the names in
            the training set; a dict from the student's names to the teacher's, all
            others matched by name. Defaults to None: the classes are the same.

    Raises:
        TypeError: If ``preprocess`` has an unknown key.
        ValueError: If not exactly one model is named, its weights are missing, or a
            setting is out of range or does not fit the source.
    """

    def __init__(
        self,
        config: str | None = None,
        model: dict | None = None,
        checkpoint: str | None = _MISSING,
        dtype: str | None = None,
        channels_last: bool = False,
        compile: bool | dict = False,
        timm: str | None = None,
        huggingface: str | None = None,
        torchvision: str | None = None,
        weights: str | None = None,
        exported: str | None = None,
        onnx: str | None = None,
        options: dict | None = None,
        preprocess: dict | str | None = None,
        resize: str | int | Sequence[int] | None = 'auto',
        output: str | int | None = None,
        class_map: str | dict | list | None = None,
    ) -> None:
        values = (config, model, timm, huggingface, torchvision, exported, onnx)
        named = {k: v for k, v in zip(SOURCES, values) if v is not None}
        if len(named) != 1:
            shown = ', '.join(f'{key}={value!r}' for key, value in named.items())
            raise ValueError(
                "teacher needs exactly one of config (a path, or 'package::path'), "
                f'model (a dict), {", ".join(list(SOURCES)[2:])}, but got '
                f'{shown or "none of them"}.'
            )
        self.source: str
        self.what: Any
        ((self.source, self.what),) = named.items()
        self.pretrained = checkpoint is _MISSING
        self.checkpoint = None if self.pretrained else checkpoint
        self.weights = weights
        self.options = dict(options or {})
        self.output = output
        self.class_map = class_map
        self.precision = Precision(dtype)
        self.channels_last = channels_last
        self.compile = compile
        self._preprocess = read_preprocess(preprocess)
        self._resize = read_resize(resize)
        self._check_settings()
        self.classes: tuple[str, ...] | None = None
        """Names of its classes, if its source provides them."""
        self.module: nn.Module | None = None
        self._forward: Callable[..., Any] | None = None
        self._images = Images()
        self._wanted: _Wanted | None = None
        self._index: Tensor | None = None
        self._checked = False

    def _check_settings(self) -> None:
        if self.source in TOOLBOX and self.pretrained:
            raise ValueError(
                'teacher needs a checkpoint: the path or URL of its weights. Set '
                'checkpoint=None if you really want random weights.'
            )
        if self.source == 'torchvision' and self.pretrained != bool(self.weights):
            raise ValueError(
                "teacher.torchvision needs either weights, such as 'IMAGENET1K_V1', or "
                'a checkpoint (None: random weights), but got weights='
                f'{self.weights!r} and checkpoint={self.checkpoint!r}.'
            )
        does_not_fit = []
        if self.source != 'torchvision' and self.weights is not None:
            does_not_fit.append('weights')
        if self.source in (*TOOLBOX, *FILES) and self.options:
            does_not_fit.append('options')
        if self.source in FILES and not self.pretrained:
            does_not_fit.append('checkpoint')
        if self.source == 'onnx':
            changed = dict(
                dtype=self.precision.dtype,
                channels_last=self.channels_last,
                compile=self.compile,
            )
            does_not_fit += [name for name, value in changed.items() if value]
        if does_not_fit:
            raise ValueError(
                f'teacher.{self.source} takes no {" and no ".join(does_not_fit)}. '
                'Remove it, or specify the teacher in another way.'
            )
        if self.source in FILES and self._preprocess is not None:
            with_settings(None, self._preprocess, self.name)

    def __deepcopy__(self, memo: dict) -> Teacher:
        """Return itself: copies of the distiller, as EMA makes them, share it."""
        return self

    @property
    def name(self) -> str:
        """Its name in messages."""
        if self.source == 'model':
            return f'teacher {self.what.get("type")}'
        kind = '' if self.source == 'config' else f'{self.source} '
        return f'teacher {kind}{self.what}'

    @property
    def members(self) -> dict[str, Teacher]:
        """The teachers that it consists of, by name: only itself."""
        return {'': self}

    @property
    def loaded(self) -> bool:
        """Whether it is built and has its weights."""
        return self.module is not None

    @property
    def predicts(self) -> bool:
        """Whether it predicts the student's classes on its own."""
        return isinstance(self.module, BaseModel) and self._index is None

    def load(self, student: BaseModel) -> None:
        """Build the model and load its weights, once.

        Args:
            student (BaseModel): The student. The teacher moves to its device and type,
                and undoes its normalization if that differs.

        Raises:
            FileNotFoundError: If the checkpoint does not exist.
            ImportError: If the library that it comes from is not installed.
            ValueError: If the checkpoint cannot be read or does not fit the model, or
                the model cannot run in ``dtype``.
        """
        if self.loaded:
            return
        like = next(student.parameters())
        request = Request(
            what=self.what,
            who=self.name,
            device=like.device,
            checkpoint=self.checkpoint,
            pretrained=self.pretrained,
            weights=self.weights,
            options=self.options,
            output=self.output,
        )
        with side_rng():
            found = builder_of(self.source)(request)
        module, self.classes = found.module, found.classes
        network = getattr(module, 'network', module)
        refuse_detector(network, self.name)
        task_of(network).check_activation(network, self.name)
        if self.checkpoint is None and not self.pretrained:
            warnings.warn(f'{self.name} has random weights (checkpoint=None).')
            for value in module.state_dict().values():
                broadcast(value)
        self._images = self._images_for(student, found)
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

    def _images_for(self, student: BaseModel, found: Found) -> Images:
        given = student.data_preprocessor
        set_here = self._preprocess
        size = getattr(found.module, 'img_size', None)
        only = size if self.source not in TOOLBOX else None
        if set_here is None or (self.source in TOOLBOX and 'mean' not in set_here):
            images = Images(only=only)
            images.padding = getattr(found.data_preprocessor, 'pad_val', 0.0)
            if set_here is not None and found.data_preprocessor is not None:
                images.renormalize = Renormalize.between(given, found.data_preprocessor)
            target = only if self._resize == 'auto' else self._resize
            if isinstance(target, tuple):
                mode = (set_here or {}).get('interpolation', 'bilinear')
                images.resize = Resize(target, mode)
            return images
        wanted = with_settings(found.preprocessing, set_here, self.name)
        channels = set_here.get('student_channels')
        images, decided = images_for(
            wanted, given, channels, self._resize, only, self.name
        )
        print_log(f'{self.name}: {decided}.', logger='current')
        return images

    def meet(
        self,
        classes: int,
        names: Sequence[str] | None,
        their_classes: int | None,
        ndim: int,
    ) -> None:
        """Check that it predicts the student's classes, or match them by ``class_map``.

        Args:
            classes (int): Number of classes of the student.
            names (Sequence[str], optional): Their names, if the training set provides
                them.
            their_classes (int, optional): Number of classes of the teacher, if known
                before it runs.
            ndim (int): Number of dimensions of the logits.

        Raises:
            ValueError: If the classes differ, or ``class_map`` does not fit.
        """
        self._wanted = _Wanted(classes, names, ndim)
        self._match(their_classes)

    def _match(self, their_classes: int | None) -> None:
        assert self._wanted is not None
        if their_classes == 1:
            raise ValueError(
                f'{self.name} has one channel, which is read through a sigmoid. Logit '
                'distillation needs a logit for each class: use a teacher with two '
                'channels (out_channels=2 in mmseg). One channel is not supported yet.'
            )
        index = match_classes(
            self.class_map,
            self.name,
            self._wanted.classes,
            self._wanted.names,
            their_classes,
            self.classes,
        )
        self._index = None if index is None else torch.tensor(index)

    def _apply(self, fn: Callable[[Tensor], Tensor]) -> None:
        """Follow the distiller to another device or type."""
        if self.module is not None:
            self.module._apply(fn)
            self.precision.settle(self.module)

    def prepare(
        self, inputs: Tensor, data_samples: Sequence[Any] | None = None
    ) -> Tensor:
        """Convert images from what the student gets to what the teacher expects."""
        inputs = self._images(inputs, data_samples)
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
        """Compute the logits of preprocessed images.

        Args:
            inputs (Tensor): Images of shape (N, channels, H, W), as the student's
                data preprocessor returns them.
            data_samples (Sequence, optional): The toolbox's data samples, which say
                what is padding. Defaults to None.

        Returns:
            Tensor: Logits of the student's classes, shape (N, C, ...), without
            gradient.

        Raises:
            ValueError: If it is unclear which output holds the logits; if it cannot run
                in ``dtype``, which was not noticed when it was loaded because no
                suitable image size was known; if it takes no images of this size,
                returns something other than logits, or predicts something other than
                their softmax.
        """
        assert self.module is not None, 'Teacher.load() comes first.'
        assert self._forward is not None
        inputs = self.prepare(inputs, data_samples)
        self.precision.check_on(self.module, inputs, self.name)
        with self.precision.context(inputs.device):
            logits = self._forward(inputs, mode='tensor')
        if not isinstance(self.module, LogitModel):
            logits = pick_output(logits, self.output, self.name)
        if not self._checked:
            self._check_logits(logits)
            if isinstance(self.module, BaseModel):
                task = task_of(self.module)
                with self.precision.context(inputs.device):
                    check_prediction(task, self.module, logits, inputs, self.name)
            self._checked = True
        if self._index is not None:
            self._index = self._index.to(logits.device)
            logits = logits.index_select(1, self._index)
        return logits

    def _check_logits(self, logits: Tensor) -> None:
        """Check that the first logits are logits, and of the expected classes."""
        shape = tuple(logits.shape)
        if self._wanted is not None:
            if len(shape) != self._wanted.ndim:
                wanted = '(images, classes)'
                if self._wanted.ndim == 4:
                    wanted = '(images, classes, height, width)'
                raise ValueError(
                    f'{self.name} returned the shape {shape}, but logits must have the '
                    f'shape {wanted}. Features are not logits: use a model with its '
                    "last layer, and of the student's task."
                )
            self._match(shape[1])
        rows = logits.float()
        sums = rows.sum(1)
        lowest, highest = rows.aminmax()
        what = ''
        if torch.allclose(sums, torch.ones_like(sums), atol=0.01):
            what = 'rows sum to 1'
        elif self.source in FILES and lowest < _RARE and highest <= 1:
            what = 'values are from 0 to 1'
        if shape[1] > 1 and lowest >= 0 and what:
            raise ValueError(
                f'{self.name} gives probabilities: its {what}. Distillation needs '
                'logits, before the activation: name them with teacher.output, or '
                'export the model without its softmax or sigmoid.'
            )

    @torch.no_grad()
    def predict(self, inputs: Tensor, data_samples: Sequence[Any]) -> list[Any]:
        """Predict preprocessed images in the form that the evaluator takes."""
        assert self.module is not None, 'Teacher.load() comes first.'
        inputs = self.prepare(inputs, data_samples)
        with self.precision.context(inputs.device):
            return self.module(inputs, data_samples, mode='predict')

    def average(self, logits: Sequence[Tensor | None]) -> Tensor:
        """Return the logits of the only member."""
        (only,) = logits
        assert only is not None
        return only
