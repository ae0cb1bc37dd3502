"""Programs written by torch.export."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.checkpoint import is_torchscript
from mmkd_logit.models.teachers.sources.source import (
    Found,
    LogitModel,
    Request,
    existing_file,
)

_EXPORT = (
    'torch.export.save(torch.export.export(model.eval(), (images,)), "teacher.pt2")'
)
# The files of a program. Compiled libraries would be extra files.
_MEMBERS = re.compile(
    r'(archive_format|archive_version|byteorder|\.data/\w+|models/model\.json'
    r'|data/(weights/(weight_\d+|model_weights_config\.json)'
    r'|constants/(tensor_\d+|model_constants_config\.json)|sample_inputs/model\.pt))'
)
_SAMPLES = 'data/sample_inputs/model.pt'
# What a program may call: operators of torch, and arithmetic on sizes.
_CALLS = re.compile(
    r'torch\.ops\.(aten|prims)\.\w+\.\w+'
    r'|torch\.ops\.higher_order\.(wrap_with_set_grad_enabled|wrap_with_autocast|cond)'
    r'|torch\._?sym_\w+'
    r'|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|pos|getitem|and_|or_|not_'
    r'|eq|ne|lt|le|gt|ge)'
    r'|math\.(ceil|floor|trunc|sqrt)'
)
# A symbolic size, such as "Mul(Integer(3), Symbol('s0', integer=True))". Torch
# evaluates it.
_SIZES = re.compile(
    r"(Symbol\('\w+'(, \w+=(True|False))*\)"
    r'|[a-z]{1,4}\d+(?!\d)|[A-Z][A-Za-z]+(?![A-Za-z])|\d+(?!\d)|[-+*/%(),<>=!&|~\s])*'
)


def build(request: Request) -> Found:
    """Read a program that takes images (N, channels, H, W) and returns logits.

    Loading it with torch directly could run code: the file is vetted first, and only
    the parts that are needed are passed on.

    Args:
        request (Request): ``what`` is the file. Its batch size may be free or fixed.

    Returns:
        Found: The model; a program does not specify its preprocessing or classes.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not such a program, contains anything that could run code,
            comes from a torch release that this one cannot read, or takes anything but
            images.
    """
    path = existing_file(request, '.pt2')
    if is_torchscript(path):
        raise ValueError(
            f'{request.who} is a TorchScript archive, which holds code, and was not '
            f'loaded. Export the model in a place that you trust: {_EXPORT}.'
        )
    program = _load(path, request)
    names = program.graph_signature.user_inputs
    shapes = {
        node.name: tuple(node.meta['val'].shape)
        for node in program.graph.nodes
        if node.op == 'placeholder' and isinstance(node.meta.get('val'), Tensor)
    }
    shape = shapes.get(names[0], ()) if names else ()
    if len(names) != 1 or len(shape) != 4:
        shown = ', '.join(f'{name} {shapes.get(name, "")}' for name in names)
        raise ValueError(
            f'{request.who} takes {shown}, but a teacher must take one batch of images '
            'of the shape (N, channels, H, W). Export it for images alone.'
        )
    if any(_trains(node) for node in program.graph.nodes):
        raise ValueError(
            f'{request.who} was exported in training mode: its batch norm or dropout '
            f'would change the logits in every step. Export it again: {_EXPORT}.'
        )
    batch, _, height, width = (e if isinstance(e, int) else None for e in shape)
    found = [
        node.meta['val'].shape
        for node in program.graph.find_nodes(op='output')[0].args[0]
        if isinstance(getattr(node, 'meta', {}).get('val'), Tensor)
    ]
    classes = found[0][1] if len(found) == 1 and len(found[0]) > 1 else None
    module = LogitModel(
        _Program(program, request.device),
        request.who,
        classes if isinstance(classes, int) else None,
        request.output,
        (height, width) if height and width else None,
        batch,
    )
    return Found(module)


class _Program(nn.Module):
    """A program as a module that is always in evaluation mode."""

    def __init__(self, program: Any, device: torch.device) -> None:
        super().__init__()
        if device.type != 'cpu':
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        self.graph = program.module()

    def train(self, mode: bool = True) -> _Program:
        """Do nothing: the mode of a program is fixed when it is exported."""
        return self

    def forward(self, images: Tensor) -> Any:
        return self.graph(images)


def _trains(node: Any) -> bool:
    """Return whether a node is active dropout or batch norm on batch statistics."""
    name = str(node.target)
    if node.op != 'call_function' or not node.args:
        return False
    if name.startswith('aten.dropout'):
        return node.args[2] is True
    if name.startswith('aten.batch_norm'):
        return node.args[5] is True
    return '_native_batch_norm_legit_functional' in name


def _load(path: Path, request: Request) -> Any:
    try:
        buffer = _vetted(path)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f'{request.who} ({path.stat().st_size} bytes) cannot be read; it may be '
            f'truncated, or not what its suffix says: {error}.'
        ) from error
    except _RefusedError as error:
        raise ValueError(
            f'{request.who} holds {error}, and was not loaded because reading it could '
            f'run code. Export the model for images alone: {_EXPORT}; or to ONNX.'
        ) from error
    if buffer is None:
        raise ValueError(
            f'{request.who} does not have the format that torch.export.save has '
            f'written since torch 2.8. Export it again with a current torch: {_EXPORT}'
            '; or to ONNX.'
        )
    try:
        return torch.export.load(buffer)
    except Exception as error:  # torch may raise anything
        raise ValueError(
            f'{request.who} cannot be read by torch {torch.__version__}: '
            f'{type(error).__name__}: {error}. Export it with this release of torch, '
            'or to ONNX.'
        ) from error


class _RefusedError(Exception):
    """Something in a file that could run code."""


def _vetted(path: Path) -> io.BytesIO | None:
    """Copy a program without what could run code; return None if it is not one."""
    copy = io.BytesIO()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(copy, 'w') as vetted:
        names = archive.namelist()
        short = {name: name.partition('/')[2] for name in names}
        if 'models/model.json' not in short.values():
            return None
        if len(set(names)) < len(names):
            raise _RefusedError('two files of one name')
        for name in names:
            if not _MEMBERS.fullmatch(short[name]):
                raise _RefusedError(f'the file {name!r}')
            content = archive.read(name)
            if name.endswith('.json'):
                _check_json(json.loads(content))
            # Not needed here, and the only part that is always pickled.
            vetted.writestr(name, b'' if short[name] == _SAMPLES else content)
    copy.seek(0)
    return copy


def _check_json(content: Any) -> None:
    """Refuse what torch would evaluate, call or unpickle."""
    for part in _dicts(content):
        if part.get('use_pickle'):
            raise _RefusedError(f'the pickled object {part.get("path_name")!r}')
        calls = [part.get('as_operator')]
        if 'inputs' in part and 'metadata' in part:
            calls.append(part.get('target'))
        for call in calls:
            if call is not None and not _CALLS.fullmatch(str(call)):
                raise _RefusedError(f'a call of {call!r}')
        size = part.get('expr_str')
        if size is not None and not _SIZES.fullmatch(str(size)):
            raise _RefusedError(f'the expression {size!r}')
        if 'default_factory' in str([v for v in part.values() if type(v) is str]):
            raise _RefusedError('a factory')


def _dicts(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict):
        yield content
        content = list(content.values())
    if isinstance(content, list):
        for each in content:
            yield from _dicts(each)
