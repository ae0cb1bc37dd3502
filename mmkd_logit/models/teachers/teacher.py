"""The frozen model whose logits a student learns from."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import broadcast
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd_logit.checkpoint import (
    class_names,
    load_strictly,
    read_checkpoint,
    weights_of,
)
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.models.teachers.normalization import Renormalize
from mmkd_logit.registry import MODELS
from mmkd_logit.rng import side_rng

_MISSING: Any = object()
_HALF = (torch.float16, torch.bfloat16)
# Autocast makes the weights of these narrow anyway. They are nearly all there are.
_NARROW_LAYERS = (nn.Linear, nn.Conv2d)


class Teacher:
    """A frozen classifier or segmentor, outside the module tree of the distiller.

    It is no ``nn.Module``, so it is in no checkpoint, optimizer, EMA copy or DDP
    bucket, and ``train()`` never reaches it. The distiller passes device and type on
    to it. It is built, and its weights are read, when training starts.

    Args:
        config (str, optional): Config of the teacher: a path, or one of a package as
            ``'mmpretrain::resnet/resnet34_8xb32_in1k.py'``.
        model (dict, optional): Config of its model alone, in place of ``config``.
        checkpoint (str | None): Path or http(s) address of its weights. Must be
            given; None means random weights, and warns.
        dtype (str, optional): Floating point type that it runs in, as 'bfloat16'.
            In 'bfloat16' and 'float16' it runs as in mixed precision: what needs
            float32, such as a norm, keeps it. Defaults to None, that of the student.
        channels_last (bool): Whether it runs in the channels_last memory format.
            Defaults to False.
        compile (bool | dict): Whether it is compiled; a dict holds the arguments of
            ``torch.compile``. Defaults to False.

    Raises:
        ValueError: If not exactly one of ``config`` and ``model`` is given, or
            ``checkpoint`` is missing, or ``dtype`` is no floating point type.
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
        self.dtype = _dtype(dtype)
        self.channels_last = channels_last
        self.compile = compile
        self.classes: tuple[str, ...] | None = None
        """Names of its classes, if its checkpoint holds them."""
        self.module: BaseModel | None = None
        self._forward: Callable[..., Any] | None = None
        self._tried = False
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
            ValueError: If the checkpoint can not be read or does not fit the model, or
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
            weights = weights_of(checkpoint, self.checkpoint)
            load_strictly(module, weights, f'{self.name}: {self.checkpoint}')
            self.classes = class_names(checkpoint)
            print_log(f'{self.name}: weights of {self.checkpoint}', logger='current')
        if 'data_preprocessor' in model:
            self._renormalize = Renormalize.between(
                student.data_preprocessor, module.data_preprocessor
            )
        like = next(student.parameters())
        module.requires_grad_(False).to(device=like.device)
        if self.dtype is None:
            module.to(like.dtype)
        if self.channels_last:
            module.to(memory_format=torch.channels_last)
        self._settle(module)
        self._check_dtype(module, like.device)
        self.module = self._forward = module
        if self.compile:
            options = self.compile if isinstance(self.compile, dict) else {}
            self._forward = torch.compile(module, **options)

    def _model_config(self) -> dict:
        if self.config is None:
            assert self.model is not None
            return copy.deepcopy(self.model)
        cfg = _read_config(self.config)
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
            self._settle(self.module)

    def _settle(self, module: nn.Module) -> None:
        """Give the model its type and mode, where it is now."""
        if self.dtype in _HALF:
            module.to(torch.float32)
            for layer in module.modules():
                if type(layer) in _NARROW_LAYERS:
                    layer.to(self.dtype)
        elif self.dtype is not None:
            module.to(self.dtype)
        # LeViT and others keep a plain tensor from here on, of this device and type.
        module.eval()

    def _in_dtype(self, device: torch.device) -> AbstractContextManager:
        """Where the model runs in its type, be it inside mixed precision or not."""
        if self.dtype in _HALF:
            # Models make tensors of float32 as they run (the masks of Swin), which
            # only autocast brings together with narrow ones.
            return torch.autocast(device.type, dtype=self.dtype)
        if self.dtype is not None:
            return torch.autocast(device.type, enabled=False)
        return nullcontext()

    def _check_dtype(self, module: BaseModel, device: torch.device) -> None:
        """Refuse a half precision that the device or the model does not take."""
        if self.dtype not in _HALF:
            return
        if not self._autocasts(device):
            other = 'float16' if self.dtype == torch.bfloat16 else 'bfloat16'
            raise self._refusal(
                f'torch {torch.__version__} has no autocast to it on this '
                f'{device.type}',
                f"{other!r} or 'float32'",
            )
        channels = _image_channels(module)
        for height, width in _image_sizes(module):
            image = torch.linspace(-1, 1, channels * height * width, device=device)
            if self._try(module, image.view(1, channels, height, width)):
                break

    def _autocasts(self, device: torch.device) -> bool:
        one = torch.ones(1, 1, device=device)
        with warnings.catch_warnings():
            # Where there is none, torch raises an error, or warns and does without.
            warnings.simplefilter('ignore')
            try:
                with self._in_dtype(device):
                    return (one @ one).dtype == self.dtype
            except RuntimeError:
                return False

    def _try(self, module: BaseModel, image: Tensor) -> bool:
        """Run one image, to refuse a type here rather than in a step of training.

        Returns:
            bool: Whether it ran. False if it does not in float32 either.

        Raises:
            ValueError: If it runs in float32, but not in ``dtype``.
        """
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        devices = [image.device] if image.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            try:
                with self._in_dtype(image.device):
                    _run_finite(module, image)
                self._tried = True
            except Exception as error:
                if self._runs_in_float32(module, image):
                    reason = f'{type(error).__name__}: {error}'.rstrip('.')
                    raise self._refusal(
                        reason, "'float32', in which it runs"
                    ) from error
            finally:
                for buffer, value in buffers:
                    buffer.copy_(value)
        return self._tried

    def _runs_in_float32(self, module: BaseModel, image: Tensor) -> bool:
        module.to(torch.float32)
        try:
            with torch.autocast(image.device.type, enabled=False):
                _run_finite(module, image)
        except Exception:
            return False
        finally:
            self._settle(module)
        return True

    def _refusal(self, reason: str, instead: str) -> ValueError:
        dtype = str(self.dtype).removeprefix('torch.')
        return ValueError(
            f'{self.name} cannot run in {dtype}: {reason}. Set teacher.dtype to '
            f'{instead}.'
        )

    def prepare(self, inputs: Tensor) -> Tensor:
        """Images as the student gets them, as the teacher expects them."""
        if self._renormalize is not None:
            inputs = self._renormalize(inputs)
        # Autocast narrows them where they are used.
        dtype = torch.float32 if self.dtype in _HALF else self.dtype
        return inputs.to(
            dtype=dtype or inputs.dtype,
            memory_format=torch.channels_last
            if self.channels_last
            else torch.preserve_format,
        )

    @torch.no_grad()
    def __call__(self, inputs: Tensor) -> Tensor:
        """Logits of preprocessed images.

        Args:
            inputs (Tensor): Images of shape (N, channels, H, W), as the student's
                data preprocessor gives them.

        Returns:
            Tensor: Logits of shape (N, C, ...), without gradient.

        Raises:
            TypeError: If the model gives anything but one tensor.
            ValueError: If it cannot run in ``dtype``, and no image that it takes was
                known when it was loaded.
        """
        assert self._forward is not None, 'Teacher.load() comes first.'
        inputs = self.prepare(inputs)
        if self.dtype in _HALF and not self._tried:
            assert self.module is not None
            self._try(self.module, inputs[:1])
        with self._in_dtype(inputs.device):
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
        with self._in_dtype(inputs.device):
            return self.module(inputs, data_samples, mode='predict')


def _dtype(name: str | None) -> torch.dtype | None:
    if name is None:
        return None
    dtype = getattr(torch, str(name).removeprefix('torch.'), None)
    if dtype not in (*_HALF, torch.float32, torch.float64):
        raise ValueError(
            "teacher.dtype must be 'bfloat16', 'float16', 'float32' or 'float64', but "
            f'got {name!r}.'
        )
    return dtype


def _run_finite(module: BaseModel, image: Tensor) -> None:
    logits = module(image, mode='tensor')
    if isinstance(logits, Tensor) and not logits.isfinite().all():
        raise OverflowError('its logits are not finite')


def _image_channels(module: nn.Module) -> int:
    """Channels of the images that a model takes: its stem is a convolution."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    return next((layer.in_channels for layer in layers), 3)


def _image_sizes(module: nn.Module) -> Iterator[tuple[int, int]]:
    """Sizes of images that a model may take, the surest first."""
    # Models with an embedding for each position know theirs.
    names = ('img_size', 'init_input_size')
    told = (getattr(part, name, None) for part in module.modules() for name in names)
    size = next((size for size in told if isinstance(size, (int, tuple, list))), ())
    if isinstance(size, int):
        yield size, size
    elif len(size) == 2:
        yield size[0], size[1]
    yield 32, 32
    yield 224, 224


def _read_config(path: str) -> Config:
    try:
        # mmengine resolves 'package::path' in _base_ only.
        if '::' in path:
            return Config.fromstring(f'_base_ = [{path!r}]', '.py')
        return Config.fromfile(path)
    except (OSError, ModuleNotFoundError, KeyError) as error:
        raise FileNotFoundError(
            f'The config of the teacher, teacher.config={path!r}, cannot be read '
            f'(looked in {Path.cwd()}): {error}. Name a file, or one of a package as '
            "'mmpretrain::resnet/resnet34_8xb32_in1k.py'."
        ) from error
