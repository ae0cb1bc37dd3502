"""The floating-point type that a teacher runs in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

_HALF = (torch.float16, torch.bfloat16)
# Layers whose weights autocast narrows anyway; they hold nearly all weights.
_NARROW_LAYERS = (nn.Linear, nn.Conv2d)


class Precision:
    """Runs a frozen model in a given type, and refuses one that it cannot run in.

    Half precision works like mixed precision: operations that need float32, such as
    normalization, keep it.

    Args:
        dtype (str, optional): 'bfloat16', 'float16', 'float32' or 'float64'. None: the
            type of the model's weights, with mixed precision where the student uses it.

    Raises:
        ValueError: If it is any other type.
    """

    def __init__(self, dtype: str | None) -> None:
        self.dtype = None if dtype is None else _float_type(dtype)
        self.is_half = self.dtype in _HALF
        self._tried = not self.is_half

    def settle(self, module: nn.Module) -> None:
        """Convert the model to its type in place, and set evaluation mode."""
        if self.is_half:
            module.to(torch.float32)
            for layer in module.modules():
                if type(layer) in _NARROW_LAYERS:
                    layer.to(self.dtype)
        elif self.dtype is not None:
            module.to(self.dtype)
        # In eval(), LeViT and others cache a plain tensor of this device and type.
        module.eval()

    def context(self, device: torch.device) -> AbstractContextManager:
        """Return a context in which the model runs in its type, in autocast or not."""
        if self.is_half:
            # Some models create float32 tensors as they run (the masks of Swin), which
            # only autocast reconciles with narrow ones.
            return torch.autocast(device.type, dtype=self.dtype)
        if self.dtype is not None:
            return torch.autocast(device.type, enabled=False)
        return nullcontext()

    def inputs_like(self, inputs: Tensor) -> torch.dtype:
        """Return the type that images must have."""
        # Autocast narrows them where they are used.
        return torch.float32 if self.is_half else self.dtype or inputs.dtype

    def check(self, module: BaseModel, device: torch.device, name: str) -> None:
        """Refuse half precision if the device or the model does not support it.

        One image of a size that the model takes is run through it. If no such size is
        found, :meth:`check_on` tries the first image of training.

        Args:
            module (BaseModel): The model, after :meth:`settle`.
            device (torch.device): Its device.
            name (str): The model's name, for messages.

        Raises:
            ValueError: If the model cannot run in the type.
        """
        if not self.is_half:
            return
        if not self._autocasts(device):
            other = 'float16' if self.dtype == torch.bfloat16 else 'bfloat16'
            raise self._refusal(
                name,
                f'torch {torch.__version__} does not autocast to it on this '
                f'{device.type}',
                f"{other!r} or 'float32'",
            )
        channels = _image_channels(module)
        for height, width in _image_sizes(module):
            image = torch.linspace(-1, 1, channels * height * width, device=device)
            self.check_on(module, image.view(1, channels, height, width), name)
            if self._tried:
                break

    def check_on(self, module: BaseModel, images: Tensor, name: str) -> None:
        """Try the type on an image, unless it has already been tried.

        Nothing is concluded if the model does not run in float32 either.

        Args:
            module (BaseModel): The model.
            images (Tensor): Shape (N, channels, H, W); the first one is used.
            name (str): The model's name, for messages.

        Raises:
            ValueError: If the model runs in float32, but not in the type.
        """
        if self._tried:
            return
        buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
        devices = [images.device] if images.is_cuda else []
        with torch.no_grad(), torch.random.fork_rng(devices):
            try:
                with self.context(images.device):
                    _run_finite(module, images[:1])
                self._tried = True
            except Exception as error:
                if self._runs_in_float32(module, images[:1]):
                    reason = f'{type(error).__name__}: {error}'.rstrip('.')
                    raise self._refusal(
                        name, reason, "'float32', in which it runs"
                    ) from error
            finally:
                for buffer, value in buffers:
                    buffer.copy_(value)

    def _autocasts(self, device: torch.device) -> bool:
        one = torch.ones(1, 1, device=device)
        with warnings.catch_warnings():
            # Without autocast support, torch raises an error, or warns and disables it.
            warnings.simplefilter('ignore')
            try:
                with self.context(device):
                    return (one @ one).dtype == self.dtype
            except RuntimeError:
                return False

    def _runs_in_float32(self, module: BaseModel, image: Tensor) -> bool:
        module.to(torch.float32)
        try:
            with torch.autocast(image.device.type, enabled=False):
                _run_finite(module, image)
        except Exception:
            return False
        finally:
            self.settle(module)
        return True

    def _refusal(self, name: str, reason: str, instead: str) -> ValueError:
        dtype = str(self.dtype).removeprefix('torch.')
        return ValueError(
            f'{name} cannot run in {dtype}: {reason}. Set teacher.dtype to {instead}.'
        )


def _float_type(name: str) -> torch.dtype:
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
    """Return the image channels of a model: those that its first convolution takes."""
    layers = (layer for layer in module.modules() if isinstance(layer, nn.Conv2d))
    return next((layer.in_channels for layer in layers), 3)


def _image_sizes(module: nn.Module) -> Iterator[tuple[int, int]]:
    """Yield image sizes that a model may take, the most likely first."""
    # Models with position embeddings know theirs.
    names = ('img_size', 'init_input_size')
    told = (getattr(part, name, None) for part in module.modules() for name in names)
    size = next((size for size in told if isinstance(size, int | tuple | list)), ())
    if isinstance(size, int):
        yield size, size
    elif len(size) == 2:
        yield size[0], size[1]
    yield 32, 32
    yield 224, 224
