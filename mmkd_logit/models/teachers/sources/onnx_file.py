"""ONNX files, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmkd_logit.models.teachers.sources.source import (
    Found,
    LogitModel,
    Request,
    existing_file,
    import_extra,
)

_TYPES = {
    'tensor(float)': torch.float32,
    'tensor(float16)': torch.float16,
    'tensor(double)': torch.float64,
    'tensor(uint8)': torch.uint8,
}
# Numbers of channels by which an input is recognized as (N, H, W, channels).
_FEW = 1, 3, 4


def build(request: Request) -> Found:
    """Read an ONNX file that takes images and returns logits.

    Args:
        request (Request): ``what`` is the file. Its batch size may be free or fixed,
            and its images of the shape (N, channels, H, W) or, if it declares their
            number, (N, H, W, channels).

    Returns:
        Found: The model; an ONNX file does not specify its preprocessing or classes.

    Raises:
        ImportError: If onnxruntime is not installed.
        FileNotFoundError: If there is no such file.
        ValueError: If it is not an ONNX file, or takes anything but one batch of
            images.
    """
    runtime = import_extra('onnxruntime', 'onnx', request.who)
    path = existing_file(request, '.onnx')
    session = _session(runtime, path, request)
    inputs = session.get_inputs()
    shape = inputs[0].shape if inputs else []
    if len(inputs) != 1 or len(shape) != 4 or inputs[0].type not in _TYPES:
        shown = ', '.join(f'{each.name} {each.type} {each.shape}' for each in inputs)
        raise ValueError(
            f'{request.who} takes {shown}, but a teacher must take one batch of '
            'images: floating-point numbers or uint8 of the shape (N, channels, H, W) '
            'or (N, H, W, channels). Export it for images alone.'
        )
    batch, *sizes = (e if isinstance(e, int) else None for e in shape)
    channels_last = sizes[2] in _FEW and sizes[0] not in _FEW
    height, width = sizes[:2] if channels_last else sizes[1:]
    channels = sizes[2] if channels_last else sizes[0]
    if channels_last:
        print_log(f'{request.who} takes (N, H, W, {channels})', logger='current')
    dtype = _TYPES[inputs[0].type]
    outputs = session.get_outputs()
    chosen = [each for each in outputs if each.name == request.output]
    only = chosen or (outputs if len(outputs) == 1 else [])
    classes = only[0].shape[1] if only and len(only[0].shape) > 1 else None
    module = LogitModel(
        _Session(session, dtype, channels, channels_last, request.who),
        request.who,
        classes if isinstance(classes, int) else None,
        request.output,
        (height, width) if height and width else None,
        batch,
    )
    return Found(module)


def _session(runtime: Any, path: Path, request: Request) -> Any:
    wanted = ['CPUExecutionProvider']
    if request.device.type == 'cuda':
        wanted.insert(0, 'CUDAExecutionProvider')
    there = runtime.get_available_providers()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        return runtime.InferenceSession(
            str(path), options, providers=[each for each in wanted if each in there]
        )
    except Exception as error:  # onnxruntime has its own type for each error
        raise ValueError(
            f'{request.who} cannot be read as an ONNX file ({path.stat().st_size} '
            f'bytes): {error}'
        ) from error


class _Session(nn.Module):
    """Runs an onnxruntime session on tensors."""

    def __init__(
        self,
        session: Any,
        dtype: torch.dtype,
        channels: int | None,
        channels_last: bool,
        who: str,
    ) -> None:
        super().__init__()
        self._session = session
        self._dtype = dtype
        self._channels = channels
        self._channels_last = channels_last
        self._who = who
        self._input = session.get_inputs()[0].name
        self._outputs = [each.name for each in session.get_outputs()]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        if self._channels not in (None, images.shape[1]):
            raise ValueError(
                f'{self._who} takes images of {self._channels} channels, but the '
                f"student's have {images.shape[1]}. Use a teacher of such images, or "
                'export it with the conversion in front.'
            )
        pixels = images.detach()
        if self._dtype == torch.uint8:
            self._check_range(pixels)
            pixels = pixels.round()
        if self._channels_last:
            pixels = pixels.permute(0, 2, 3, 1)
        array = pixels.to('cpu', self._dtype).contiguous().numpy()
        given = self._session.run(None, {self._input: array})
        return {
            name: torch.from_numpy(each).to(images.device)
            for name, each in zip(self._outputs, given)
        }

    def _check_range(self, pixels: Tensor) -> None:
        lowest, highest = pixels.aminmax()
        if lowest < -0.5 or highest > 255.5:
            raise ValueError(
                f'{self._who} takes pixels from 0 to 255 (uint8), but gets values from '
                f'{lowest:.4g} to {highest:.4g}. Set teacher.preprocess='
                'dict(mean=[0, 0, 0], std=[1, 1, 1]).'
            )
