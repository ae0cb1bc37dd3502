"""Export of a trained student to ONNX."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn
from torch.nn import functional as F

from mmkd_logit.errors import message_of
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.teachers.normalization import flips_channels, mean_std
from mmkd_logit.models.teachers.sources.source import import_extra
from mmkd_logit.tasks import SegmentationTask, task_of

_ALLOWED = 1e-4  # of the largest logit


class ExportedModel(nn.Module):
    """A plain model that maps images to logits.

    Args:
        model (BaseModel): A classifier or segmentor; in a distiller, the student is
            used.
        preprocess (bool): Whether pixels from 0 to 255 are normalized here, with the
            settings of the model's ``data_preprocessor``. Defaults to False.

    Raises:
        TypeError: If the model is neither a classifier nor a segmentor.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: BaseModel, preprocess: bool = False) -> None:
        super().__init__()
        plain = model.student if isinstance(model, LogitDistiller) else model
        task = task_of(plain)
        self.model = plain
        self.is_segmentor = task is SegmentationTask
        self.preprocess = preprocess
        self.flips = flips_channels(plain.data_preprocessor)
        mean, std = mean_std(plain.data_preprocessor)
        self.register_buffer('mean', mean)
        self.register_buffer('std', std)
        self.eval()

    @property
    def in_channels(self) -> int:
        """Number of channels of the images."""
        # The first layer of every backbone is a convolution without groups.
        return next(p.shape[1] for p in self.parameters() if p.ndim == 4)

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize pixels from 0 to 255 as the ``data_preprocessor`` does.

        Args:
            images (Tensor): Images of shape (N, channels, H, W), with channels in the
                order in which the training pipeline loads them: BGR in OpenMMLab.

        Returns:
            Tensor: Images of the same shape, as the model was trained on.
        """
        if self.flips and images.shape[1] == 3:
            images = images.flip(1)
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits (N, C) of images, or (N, C, H, W) of their pixels.

        Args:
            images (Tensor): Shape (N, channels, H, W).

        Returns:
            Tensor: The logits; per-pixel logits are resized to the image size.
        """
        if self.preprocess:
            images = self.normalize(images)
        logits = self.model(images, mode='tensor')
        if self.is_segmentor:
            logits = F.interpolate(
                logits,
                images.shape[-2:],
                mode='bilinear',
                align_corners=self.model.align_corners,
            )
        return logits


def export_onnx(
    model: ExportedModel, path: Path, shape: Sequence[int], batch: int | None = None
) -> float:
    """Write a model to a single ONNX file, and check it on random images.

    Args:
        model (ExportedModel): The model.
        path (Path): The file. Its input is ``images``, its output ``logits``.
        shape (Sequence[int]): Channels, height and width of an image.
        batch (int, optional): The only batch size that the file takes. Defaults to
            None: any. It is then checked with 1, 2 and 3.

    Returns:
        float: As :func:`check_onnx` returns it, the largest of all checks.

    Raises:
        ImportError: If a package of the extra ``onnx`` is missing.
        ValueError: If the model cannot be exported, or the file is not right for every
            batch size. No file is written then.
    """
    packages = ['onnx', 'onnxruntime', *(['onnxscript'] if _exports_programs() else [])]
    for package in packages:
        import_extra(package, 'onnx', 'export_onnx')
    images = torch.rand(batch or 3, *shape) * 255
    if not model.preprocess:
        images = model.normalize(images)
    expected = model(images)
    counts = (1, 2, 3) if batch is None else (batch,)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        file = Path(folder) / path.name
        try:
            with _free_of_batch_size(model):
                _write(model, file, images[:2] if batch is None else images, batch)
            differences = [check_onnx(file, images[:n], expected[:n]) for n in counts]
        except Exception as error:  # the exporter and onnxruntime raise anything
            name, free = type(model.model).__name__, ''
            if batch is None:
                free = ' A fixed batch size may help (--batch 1).'
            raise ValueError(
                f'The {name} cannot be exported to ONNX by torch {torch.__version__}: '
                f'{message_of(error)}{free}'
            ) from error
        file.replace(path)
    return max(differences)


def _write(model: ExportedModel, file: Path, images: Tensor, batch: int | None) -> None:
    settings: dict[str, Any] = {'input_names': ['images'], 'output_names': ['logits']}
    if _exports_programs():
        settings.update(dynamo=True, external_data=False, verbose=False)
        if batch is None:
            free = {0: torch.export.Dim('batch')}
            settings['dynamic_shapes'] = {'images': free}
    elif batch is None:
        settings['dynamic_axes'] = {'images': {0: 'batch'}, 'logits': {0: 'batch'}}
    torch.onnx.export(model, (images,), str(file), **settings)


@contextmanager
def _free_of_batch_size(model: nn.Module) -> Iterator[None]:
    """Let the window attention of the toolboxes be traced with any batch size.

    It computes the batch size by ``int()`` of a float, which becomes a constant.
    """
    parts: list[Any] = list(model.modules())
    parts = [part for part in parts if hasattr(part, 'window_reverse')]
    for part in parts:
        part.window_reverse = partial(_merge_windows, part.window_size)
    try:
        yield
    finally:
        for part in parts:
            del part.window_reverse


def _merge_windows(
    size: int, windows: Tensor, height: int, width: int, *_: int
) -> Tensor:
    """Arrange windows (N * windows, size, size, C) as maps (N, height, width, C)."""
    channels = windows.shape[-1]
    rows = windows.view(-1, height // size, width // size, size, size, channels)
    return rows.transpose(2, 3).reshape(-1, height, width, channels)


def check_onnx(path: Path, images: Tensor, expected: Tensor) -> float:
    """Compare the logits of an ONNX file with those of its model.

    Args:
        path (Path): The file.
        images (Tensor): Images of shape (N, channels, H, W).
        expected (Tensor): The logits of the model.

    Returns:
        float: The largest absolute difference of the logits, divided by the largest
            absolute logit.

    Raises:
        ImportError: If onnxruntime is not installed.
        ValueError: If they differ by more than 1e-4 of the largest logit.
    """
    (got,) = session_of(path).run(None, {'images': images.numpy()})
    found = torch.from_numpy(got)
    if found.shape != expected.shape:
        raise ValueError(
            f'{path.name} outputs logits of shape {tuple(found.shape)}, but the model '
            f'{tuple(expected.shape)}.'
        )
    largest = expected.abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    difference = ((found - expected).abs().max() / largest).item()
    if not difference <= _ALLOWED:
        raise ValueError(
            f'{path.name} differs from the model by {difference:.1e} of the largest '
            f'logit for {len(images)} images, but {_ALLOWED} is allowed.'
        )
    return difference


def session_of(path: Path) -> Any:
    """Open an onnxruntime session on the CPU, with as many threads as torch uses.

    Args:
        path (Path): An ONNX file.

    Returns:
        onnxruntime.InferenceSession: The session.

    Raises:
        ImportError: If onnxruntime is not installed.
    """
    runtime = import_extra('onnxruntime', 'onnx', 'export_onnx')
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return runtime.InferenceSession(
        str(path), options, providers=['CPUExecutionProvider']
    )


def _exports_programs() -> bool:
    """Return whether this torch exports through torch.export, as it recommends."""
    major, minor = map(int, torch.__version__.split('.')[:2])
    return (major, minor) >= (2, 6)
