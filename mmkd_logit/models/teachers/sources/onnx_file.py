"""ONNX files, run by onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
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
}


def build(request: Request) -> Found:
    """Read an ONNX file that takes images (N, channels, H, W) and returns logits.

    Args:
        request (Request): ``what`` is the file. Its batch size may be free or fixed.

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
            'images: floating-point numbers of the shape (N, channels, H, W). Export '
            'it for images alone.'
        )
    batch, _, height, width = (e if isinstance(e, int) else None for e in shape)
    outputs = session.get_outputs()
    chosen = [each for each in outputs if each.name == request.output]
    only = chosen or (outputs if len(outputs) == 1 else [])
    classes = only[0].shape[1] if only and len(only[0].shape) > 1 else None
    module = LogitModel(
        _Session(session, _TYPES[inputs[0].type]),
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

    def __init__(self, session: Any, dtype: torch.dtype) -> None:
        super().__init__()
        self._session = session
        self._dtype = dtype
        self._input = session.get_inputs()[0].name
        self._outputs = [each.name for each in session.get_outputs()]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pixels = images.detach().to('cpu', self._dtype).contiguous().numpy()
        given = self._session.run(None, {self._input: pixels})
        return {
            name: torch.from_numpy(each).to(images.device)
            for name, each in zip(self._outputs, given)
        }
