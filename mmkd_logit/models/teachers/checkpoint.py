"""Reads the weights of a teacher: safely, strictly, with readable errors."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from torch import Tensor, nn

from mmkd_logit.compat import checkpoint_globals

StateDict = Mapping[str, Tensor]


def read_checkpoint(source: str) -> dict:
    """Load a checkpoint without running code that it may hold.

    Args:
        source (str): Path of a file, or a http(s) address. A download is kept in
            torch's own cache, and each node downloads once.

    Returns:
        dict: The checkpoint, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, is no checkpoint, or holds objects that
            could run code.
    """
    path = _download(source) if '://' in source else Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f'Checkpoint {source!r} does not exist (looked in {Path.cwd()}). Train '
            'the teacher first, or name its file or URL in teacher.checkpoint.'
        )
    try:
        with checkpoint_globals():
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'Checkpoint {path} holds more than weights, and was not loaded because '
            f'reading it could run code: {_reason(error)} If you trust the file, load '
            'it yourself with torch.load(..., weights_only=False) and save its '
            "'state_dict' alone."
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        raise ValueError(
            f'Checkpoint {path} ({path.stat().st_size} bytes) can not be read; it may '
            f'be truncated or no checkpoint at all: {_reason(error)} Fetch or '
            'save it again.'
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'Checkpoint {path} holds a {type(checkpoint).__name__}, but expected a '
            'dict of weights, or one with a state_dict.'
        )
    return checkpoint


def _download(url: str) -> Path:
    if urlparse(url).scheme not in ('http', 'https'):
        raise ValueError(
            f'Checkpoint {url!r} must be the path of a file or a http(s) address.'
        )
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    path = folder / os.path.basename(urlparse(url).path)
    if get_local_rank() == 0 and not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path))
    barrier()
    return path


def _reason(error: BaseException) -> str:
    """What an error says, without the advice that torch wraps around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if 'GLOBAL' in line] or lines
    return (lines[0].partition('. ')[0] if lines else type(error).__name__) + '.'


def weights_of(checkpoint: dict) -> dict[str, Tensor]:
    """The weights in a checkpoint, under the names that a plain model uses.

    Args:
        checkpoint (dict): As mmengine saves it, or the weights alone.

    Returns:
        dict[str, Tensor]: Without the prefix of a DDP wrapper.
    """
    weights = checkpoint.get('state_dict', checkpoint)
    return {key.removeprefix('module.'): value for key, value in weights.items()}


def class_names(checkpoint: dict) -> tuple[str, ...] | None:
    """Names of the classes that a model was trained on, if its checkpoint has them.

    Args:
        checkpoint (dict): As mmengine, or an older OpenMMLab release, saves it.

    Returns:
        tuple[str, ...] | None: A name for each class, in order.
    """
    meta = checkpoint.get('meta') or {}
    names = (meta.get('dataset_meta') or {}).get('classes') or meta.get('CLASSES')
    return tuple(names) if names else None


def load_strictly(module: nn.Module, weights: StateDict, what: str) -> None:
    """Load weights that must fit to the last tensor.

    Args:
        module (nn.Module): The model.
        weights (Mapping[str, Tensor]): Its weights.
        what (str): Where they come from, for the message.

    Raises:
        ValueError: If names or shapes differ. It lists the differences.
    """
    # Mean and std are settings of the model, not weights, but old files hold them.
    weights = {k: v for k, v in weights.items() if not k.startswith('data_preproc')}
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        difference = _difference(module.state_dict(), weights)
        raise ValueError(
            f'{what} does not fit the model {type(module).__name__}:\n'
            f'{difference or error}'
        ) from error


def _difference(model: StateDict, file: StateDict, most: int = 4) -> str:
    """The differences of names and shapes, a line a kind; empty if there are none."""
    shapes = [
        f'{key}: file {tuple(file[key].shape)}, model {tuple(model[key].shape)}'
        for key in model
        if key in file and file[key].shape != model[key].shape
    ]
    lines = []
    for kind, names in (
        ('in the model only', [key for key in model if key not in file]),
        ('in the file only', [key for key in file if key not in model]),
        ('of another shape', shapes),
    ):
        if names:
            rest = f', and {len(names) - most} more' if len(names) > most else ''
            lines.append(f'  {len(names)} {kind}: {", ".join(names[:most])}{rest}')
    if any(key.startswith('student.') for key in file):
        lines.append(
            '  The file is the checkpoint of a distiller. Take its student out with '
            'tools/model_converters/export_student.py.'
        )
    elif lines and len(shapes) in (1, 2) and len(lines) == 1:
        lines.append(
            '  Only the last layer differs: the file was trained on another number of '
            'classes than the config says.'
        )
    return '\n'.join(lines)
