"""The only reader of checkpoints: safe, strict, with readable errors."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlparse
from urllib.request import urlopen

import torch
from mmengine.dist import barrier
from mmengine.fileio import get
from mmengine.runner import checkpoint as mmengine_checkpoint
from rich.progress import wrap_file
from torch import Tensor, nn

from mmkd_logit.released_names import recognize
from mmkd_logit.unpickler import RefusedObjectError, load_pickled

StateDict = Mapping[str, Tensor]
# Seconds without a byte after which a download has failed.
_PATIENCE = 60


def read_checkpoint(
    source: str | Path, remedy: str = '', map_location: Any = 'cpu'
) -> dict:
    """Load a checkpoint without running code that it may contain.

    The file is opened once: what is checked is what is loaded.

    Args:
        source (str | Path): Path of a file, or an http(s) URL. Each node downloads a
            URL once, and keeps the file in torch's own cache.
        remedy (str): Advice for the message if the file does not exist.
        map_location (Any): As in ``torch.load``. Defaults to 'cpu'.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file, or it cannot be downloaded.
        ValueError: If the file is truncated, is not a checkpoint, does not match the
            hash in its name, or contains objects that could run code.
        ImportError: If it is a ``.safetensors`` file, and safetensors is not installed.
    """
    source = str(source)
    is_url = source.startswith(('http://', 'https://'))
    path = _download(source) if is_url else Path(source).expanduser()
    if '://' in source and not is_url:
        raise ValueError(
            f'Checkpoint {source!r} must be the path of a file or an http(s) URL.'
        )
    if not path.is_file():
        state = 'is no regular file' if path.exists() else 'does not exist'
        state = 'is a folder' if path.is_dir() else state
        raise FileNotFoundError(
            f'Checkpoint {source!r} {state} (looked in {Path.cwd()}). {remedy}'.rstrip()
        )
    with path.open('rb') as file:
        try:
            return _load(file, path, map_location)
        except _UnreadableError:
            if is_url:  # download it again next time
                path.unlink(missing_ok=True)
            raise


class _UnreadableError(ValueError):
    """A file is damaged, or is no checkpoint."""


def _load(file: IO[bytes], path: Path | str, map_location: Any) -> dict:
    try:
        if str(path).endswith('.safetensors'):
            checkpoint = _load_safetensors(file, path, map_location)
        else:
            checkpoint = load_pickled(file, map_location)
    except ImportError:
        raise
    except RefusedObjectError as error:
        name = error.name if error.name.isprintable() else repr(error.name)
        raise _refusal(path, name) from error
    except Exception as error:  # a hostile file can raise anything
        raise _unreadable(path, file, error) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(
            f'Checkpoint {path} holds a {type(checkpoint).__name__}, but expected a '
            'dict of weights, or one with a state_dict.'
        )
    return checkpoint


def load_from_mmkd_logit(filename: str, map_location: Any = None) -> dict:
    """Load a checkpoint for mmengine, which prints the end of this function's name.

    Args:
        filename (str): A path or address, with one of mmengine's prefixes.
        map_location (Any): As in ``torch.load``. Defaults to None.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file, or it cannot be downloaded.
        ValueError: If it cannot be read, could run code, or has an unknown prefix.
    """
    prefix, _, name = filename.rpartition('://')
    if prefix in ('', 'http', 'https'):
        return read_checkpoint(filename, map_location=map_location)
    if prefix.rpartition(':')[2] in ('s3', 'petrel'):
        content = get(filename, backend_args={'backend': 'petrel'})
        return _load(io.BytesIO(content), filename, map_location)
    if prefix in ('torchvision', 'modelzoo'):
        addresses = mmengine_checkpoint.get_torchvision_models()
    elif prefix in ('open-mmlab', 'openmmlab'):
        addresses = mmengine_checkpoint.get_external_models()
        name = mmengine_checkpoint.get_deprecated_model_names().get(name, name)
    elif prefix == 'mmcls':
        addresses = mmengine_checkpoint.get_mmcls_models()
    else:
        addresses = {}
    if name not in addresses:
        raise ValueError(
            f'Checkpoint {filename!r} is not known: use the path of a file, an http(s) '
            'URL, or a name that mmengine lists under torchvision:// or open-mmlab://.'
        )
    address = addresses[name]
    if '://' not in address:  # of the user's own list
        address = os.path.join(mmengine_checkpoint._get_mmengine_home(), address)
    checkpoint = read_checkpoint(address, map_location=map_location)
    if prefix == 'mmcls':
        return mmengine_checkpoint._process_mmcls_checkpoint(checkpoint)
    return checkpoint


def read_for_mmengine() -> None:
    """Let mmengine read checkpoints through this module, wherever it opens them.

    Loaders that users have registered with mmengine stay.
    """
    loader = mmengine_checkpoint.CheckpointLoader
    for prefix, function in list(loader._schemes.items()):
        if function.__module__ == mmengine_checkpoint.__name__:
            loader.register_scheme(prefix, load_from_mmkd_logit, force=True)


def _refusal(path: Path | str, name: str) -> ValueError:
    if name == 'TorchScript':
        return ValueError(
            f'Checkpoint {path} is a TorchScript archive, which holds code, and was '
            "not loaded. Save the model's state_dict() with torch.save instead."
        )
    return ValueError(
        f'Checkpoint {path} holds {name} besides its weights, and was not loaded '
        f'because reading it could run code. {_sibling(name)}If you trust the file, '
        'load it yourself with torch.load(..., weights_only=False) and save its '
        "'state_dict' alone."
    )


def _sibling(refused: str) -> str:
    """Suggest a file to use instead of one that contains the options of a run."""
    if refused != 'argparse.Namespace':
        return ''
    return (
        "If it is one of RepDistiller's, use ckpt_epoch_240.pth or the *_best.pth "
        'beside it, which hold no such object. '
    )


def _load_safetensors(file: IO[bytes], path: Path | str, map_location: Any) -> dict:
    try:
        from safetensors.torch import load
    except ImportError as error:
        raise ImportError(
            f'Checkpoint {path} needs the package safetensors: pip install safetensors'
        ) from error
    tensors = load(file.read())
    if map_location in (None, 'cpu'):
        return tensors
    return {name: tensor.to(map_location) for name, tensor in tensors.items()}


def _unreadable(path: Path | str, file: IO[bytes], error: BaseException) -> ValueError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # The first sentence, without the advice that torch wraps around it.
    reason = lines[0].partition('. ')[0].rstrip('.') if lines else ''
    if ' ' not in reason:  # a KeyError has only a key
        reason = f'{type(error).__name__} {reason}'.rstrip()
    size = file.seek(0, os.SEEK_END)
    return _UnreadableError(
        f'Checkpoint {path} ({size} bytes) cannot be read; it may be truncated, '
        f'or not a checkpoint at all: {reason}. Download or save it again.'
    )


def _download(url: str) -> Path:
    """Return the file of a URL in torch's cache, downloading it if needed."""
    name = Path(urlparse(url).path).name
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    # resnet34_8xb32_in1k_20210831-f257d4e6.pth ends in the SHA-256's first digits.
    found = re.search(r'-([0-9a-f]{8,64})\.\w+$', name)
    digits = found.group(1) if found and not re.match(r'20\d{6}$', found[1]) else None
    if digits is not None and _sha256_begins_with(folder / name, digits):
        path = folder / name  # torchvision or mmengine have downloaded it
    else:
        # The files of many URLs are called model.pth.
        key = hashlib.sha256(url.encode()).hexdigest()[:16]
        path = folder / f'{key}-{name}'
    try:
        if int(os.environ.get('LOCAL_RANK', 0)) == 0 and not _is_there(path, digits):
            folder.mkdir(parents=True, exist_ok=True)
            _fetch(url, path, digits)
    except (HTTPException, OSError) as error:  # a URLError is an OSError
        raise FileNotFoundError(
            f'Checkpoint {url} could not be downloaded: {error}. Check the URL and the '
            'connection, or download the file by other means and give its path.'
        ) from error
    finally:
        barrier()  # the node's other processes wait, whatever the outcome
    return path


def _fetch(url: str, path: Path, digits: str | None) -> None:
    """Download a file; move it into place only when it is complete and matches."""
    draft, sha256 = path.with_name(f'{path.name}.{os.getpid()}.part'), hashlib.sha256()
    try:
        with urlopen(url, timeout=_PATIENCE) as response, draft.open('wb') as file:
            size = int(response.headers.get('Content-Length') or -1)
            with wrap_file(
                response,
                max(0, size),
                description=path.name,
                disable=not os.isatty(2),
            ) as reader:
                while block := reader.read(2**20):
                    sha256.update(block)
                    file.write(block)
            received = file.tell()
        if size not in (-1, received):
            raise OSError(f'it was cut short after {received:,} of {size:,} bytes')
        if digits is not None and not sha256.hexdigest().startswith(digits):
            raise ValueError(
                f'The file at {url} does not match the hash in its name: its SHA-256 '
                f'does not begin with {digits}. The download was truncated or altered: '
                'try again, or download it by other means and give its path.'
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _is_there(path: Path, digits: str | None) -> bool:
    """Return whether a file has been downloaded, and matches its name."""
    return path.is_file() and (digits is None or _sha256_begins_with(path, digits))


def _sha256_begins_with(path: Path, digits: str) -> bool:
    return path.is_file() and sha256_of(path).startswith(digits)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    sha256 = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            sha256.update(block)
    return sha256.hexdigest()


def weights_of(checkpoint: Mapping[str, Any], source: str | Path = '') -> StateDict:
    """Return the weights in a checkpoint, under the names that a plain model uses.

    Args:
        checkpoint (dict): Weights under ``state_dict``, as mmengine saves them, under
            ``model``, as most research code does, or the weights alone.
        source (str | Path): Its source, for the message.

    Returns:
        dict[str, Tensor]: The weights, without the prefix of a DDP wrapper.

    Raises:
        ValueError: If it holds no weights.
    """
    held = [checkpoint[key] for key in ('state_dict', 'model') if key in checkpoint]
    weights = held[0] if held else checkpoint
    if not isinstance(weights, Mapping) or not all(
        isinstance(key, str) and isinstance(value, Tensor)
        for key, value in weights.items()
    ):
        raise ValueError(
            f'Checkpoint {source} holds no weights where they are expected: under '
            "'state_dict', under 'model', or at the top level. It has the keys "
            f'{", ".join(map(repr, list(checkpoint)[:8]))}.'
        )
    return {key.removeprefix('module.'): value for key, value in weights.items()}


def class_names(checkpoint: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the class names that a model was trained on, if its checkpoint has them.

    Args:
        checkpoint (dict): As mmengine, or an older OpenMMLab release, saves it.

    Returns:
        tuple[str, ...] | None: A name for each class, in order.
    """
    meta = mapping_at(checkpoint, 'meta')
    names = mapping_at(meta, 'dataset_meta').get('classes') or meta.get('CLASSES')
    return tuple(map(str, names)) if names and isinstance(names, list | tuple) else None


def mapping_at(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the mapping under a key, an empty one if there is something else."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def load_strictly(module: nn.Module, weights: StateDict, what: str) -> None:
    """Load weights that must match the model to the last tensor.

    Args:
        module (nn.Module): The model.
        weights (Mapping[str, Tensor]): Its weights.
        what (str): Their source, for the message.

    Raises:
        ValueError: If names or shapes differ. The message lists the differences.
    """
    weights = _without_preprocessor(weights)
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        difference = describe_difference(module.state_dict(), weights)
        raise ValueError(
            f'{what} does not fit the model {type(module).__name__}:\n'
            f'{difference or error}'
        ) from error


def _without_preprocessor(weights: StateDict) -> StateDict:
    # Mean and std are settings of the model, not weights, but old files contain them.
    return {k: v for k, v in weights.items() if not k.startswith('data_preproc')}


def describe_difference(model: StateDict, file: StateDict, most: int = 4) -> str:
    """Describe how the weights in a file differ from those that a model needs.

    Args:
        model (Mapping[str, Tensor]): ``state_dict`` of the model.
        file (Mapping[str, Tensor]): Weights in the file.
        most (int): Maximum number of names in a line. Defaults to 4.

    Returns:
        str: A line for each kind of difference, and advice; empty if there is none.
    """
    file = _without_preprocessor(file)
    count = '.num_batches_tracked'
    if not any(key.endswith(count) for key in file):  # torch fills them in
        model = {key: model[key] for key in model if not key.endswith(count)}
    shapes = [
        f'{key}: file {tuple(file[key].shape)}, model {tuple(model[key].shape)}'
        for key in model
        if key in file and file[key].shape != model[key].shape
    ]
    lines = []
    for kind, names in (
        ('in the model only', [key for key in model if key not in file]),
        ('in the file only', [key for key in file if key not in model]),
        ('with different shapes', shapes),
    ):
        if names:
            rest = f', and {len(names) - most} more' if len(names) > most else ''
            lines.append(f'  {len(names)} {kind}: {", ".join(names[:most])}{rest}')
    if network := recognize(file):
        lines.append(
            f'  {network}. Use the config of that network, or the file of this one.'
        )
    elif any(key.startswith('student.') for key in file):
        lines.append(
            '  The file is the checkpoint of a distiller. Export its student with '
            'tools/model_converters/export_student.py.'
        )
    elif lines and not any(key in model for key in file):
        lines.append(
            '  No name in the file is known to the model: it was saved by code other '
            'than mmpretrain or mmseg. Rename its weights: backbone.* for the '
            "network, head.fc.* for a classifier's last layer."
        )
    elif lines and len(shapes) in (1, 2) and len(lines) == 1:
        lines.append(
            '  Only the last layer differs: the file was trained on a different number '
            'of classes than the config says.'
        )
    return '\n'.join(lines)
