"""Text of a config: plain values that are written to a file, or read from one."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from keyword import iskeyword
from typing import Any
from unicodedata import normalize

import mmengine.registry
from mmengine.registry import Registry

_WIDTH = 88
_HINT = 'Pass the config file with --config.'
# Names that make mmengine import, read or compile something, or that are taken.
_LEFT_OUT = (
    *('compile', 'custom_imports', 'model_wrapper_cfg', 'runner_type', 'strategy'),
    *('dict', 'env_variables', 'filename', 'float', 'pretty_text', 'text'),
)
_SCOPES = ('mmengine', 'mmkd_logit', 'mmpretrain', 'mmseg')
_PACKAGES = (*_SCOPES, 'mmcv', 'torch')
# Classes that run or unpickle what their settings name.
_UNSAFE = (
    *('Albu', 'Albumentations', 'HuggingFaceClassifier', 'ImageToImageRetriever'),
    *('LogitDistiller', 'RFSearchHook', 'SwAVHook', 'DVCLiveVisBackend'),
)
_UNSAFE_PACKAGE = 'mmpretrain.models.multimodal'
# Keys besides 'type' whose values mmengine and the toolboxes look up as types.
_LOOKED_UP = ('constructor', 'norm_layer', 'padding_mode')
# Formats of files that mmengine, or torch without this package, reads by running them.
_PROGRAMS = ('pkl', 'pickle', 'yaml', 'yml', 'pth', 'pt', 'bin', 'ckpt', 'tar')
# Keys of a model that name weights, which the student's own replace.
_WEIGHTS = ('checkpoint', 'checkpoint_path', 'pretrained')


def write_config(values: Mapping[str, Any]) -> str:
    """Write a config as the text of a Python file that holds plain values only.

    Args:
        values (Mapping[str, Any]): None, bools, numbers, strings, lists, tuples and
            dicts of them, by name.

    Returns:
        str: One assignment for each value.

    Raises:
        ValueError: If it holds anything else, or a name that no variable can have.
    """
    for name in values:
        if not _is_name(name) or name in ('dict', 'float'):
            raise ValueError(f'A variable of a config cannot be named {name!r}.')
    items = _sorted(values)
    return ''.join(f'{name} = {_literal(value, name)}\n' for name, value in items)


def _sorted(values: Mapping[Any, Any]) -> list[tuple[Any, Any]]:
    """Return the items in the order in which mmengine dumps them."""
    return sorted(values.items(), key=lambda item: str(item[0]))


def _literal(value: Any, where: str, indent: str = '') -> str:
    inner = indent + 4 * ' '
    if value is None or isinstance(value, bool):
        return repr(value)
    if isinstance(value, int):
        if value.bit_length() > 8192:  # Python refuses to write a longer one
            raise ValueError(f'{where} is an integer of {value.bit_length()} bits.')
        return int.__repr__(value)
    if isinstance(value, float):
        text = float.__repr__(value)
        return text if text.strip('-') not in ('inf', 'nan') else f"float('{text}')"
    if isinstance(value, str):
        text = str.__repr__(value)
        # mmengine replaces what is in double braces before it parses a file.
        return text.replace('{', r'\x7b') if '{{' in text else text
    if isinstance(value, Mapping) and value and all(map(_is_name, value)):
        opening, closing = 'dict(', ')'
        items = _sorted(value)
        parts = [f'{k}={_literal(v, f"{where}.{k}", inner)}' for k, v in items]
    elif isinstance(value, Mapping):
        opening, closing = '{', '}'
        items = [(_literal(k, f'a key of {where}'), v) for k, v in _sorted(value)]
        parts = [f'{k}: {_literal(v, f"{where}[{k}]", inner)}' for k, v in items]
    elif isinstance(value, list | tuple):
        opening, closing = '[]' if isinstance(value, list) else '()'
        parts = [_literal(v, f'{where}[{i}]', inner) for i, v in enumerate(value)]
        if len(parts) == 1 and isinstance(value, tuple):
            closing = ',)'
    else:
        raise ValueError(
            f'{where} is a {type(value).__name__}, but a config that is written to a '
            'file can hold only None, bools, numbers, strings, lists, tuples and dicts.'
        )
    line = f'{opening}{", ".join(parts)}{closing}'
    if len(indent) + len(line) <= _WIDTH and '\n' not in line:
        return line
    lines = ''.join(f'{inner}{part},\n' for part in parts)
    return f'{opening}\n{lines}{indent}{closing.strip(",")}'


def _is_name(key: Any) -> bool:
    """Return whether a key is the same as a name in a Python file."""
    return (
        isinstance(key, str)
        and key.isidentifier()
        and not iskeyword(key)
        and key != '__debug__'
        and normalize('NFKC', key) == key
    )


def parse_config(text: str) -> dict[str, Any]:
    """Parse the text of a config from a checkpoint without running it.

    Args:
        text (str): Assignments of literals and ``dict(...)``, as mmengine dumps them.

    Returns:
        dict[str, Any]: The values by name.

    Raises:
        ValueError: If the text contains anything else.
    """
    values: dict[str, Any] = {}
    try:
        for each in ast.parse(text).body:
            if not isinstance(each, ast.Assign) or len(each.targets) != 1:
                raise ValueError(f'line {each.lineno} assigns no value to a name')
            (target,) = each.targets
            if not isinstance(target, ast.Name):
                raise ValueError(f'line {each.lineno} assigns no value to a name')
            values[target.id] = ast.literal_eval(_Literals().visit(each.value))
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(
            f'The config in the checkpoint holds more than plain values: {error}. '
            f'{_HINT}'
        ) from error
    return values


class _Literals(ast.NodeTransformer):
    """Turns ``dict(a=1)``, ``inf`` and ``float('inf')`` into literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name == 'float' and len(node.args) == 1 and not node.keywords:
            (number,) = node.args
            if isinstance(number, ast.Constant) and number.value in _NOT_FINITE:
                return ast.Constant(float(number.value))
        first = node.args[0] if node.args else ast.Dict([], [])
        if name != 'dict' or len(node.args) > 1 or not isinstance(first, ast.Dict):
            return node
        if any(k.arg is None for k in node.keywords):
            return node
        return ast.Dict(
            [*first.keys, *(ast.Constant(k.arg) for k in node.keywords)],
            [*first.values, *(k.value for k in node.keywords)],
        )

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in _NOT_FINITE else node


_NOT_FINITE = ('inf', '-inf', 'nan')


def leave_out_programs(values: dict[str, Any]) -> list[str]:
    """Remove what makes mmengine import or read something from a stranger's config.

    Args:
        values (dict): The config. Changed.

    Returns:
        list[str]: The names that were removed.
    """
    names = [name for name in values if name.startswith('_') or name in _LEFT_OUT]
    for name in names:
        del values[name]
    return names + _drop_weights(values.get('model'), 'model')


def _drop_weights(value: Any, where: str) -> list[str]:
    """Remove what names weights anywhere in a model; return its keys."""
    dropped = []
    if isinstance(value, dict):
        for name in [name for name in value if _names_weights(name, value[name])]:
            del value[name]
            dropped.append(f'{where}.{name}')
        items = [(f'{where}.{name}', part) for name, part in value.items()]
    else:
        parts = value if isinstance(value, list | tuple) else ()
        items = [(f'{where}[{i}]', part) for i, part in enumerate(parts)]
    for name, part in items:
        dropped += _drop_weights(part, name)
    return dropped


def _names_weights(name: Any, value: Any) -> bool:
    if name == 'init_cfg':
        parts = value if isinstance(value, list | tuple) else [value]
        return any(isinstance(part, dict) and 'checkpoint' in part for part in parts)
    return name in _WEIGHTS and bool(value)


def check_types(values: Mapping[str, Any]) -> None:
    """Check that building a stranger's config runs classes of the toolboxes only.

    mmengine imports any dotted path that is no registered type, and calls what it is.

    Args:
        values (Mapping[str, Any]): The config.

    Raises:
        ValueError: If a type is not registered by mmengine, mmpretrain, mmseg or this
            package, or a value is an address or a file that could run code when it is
            read.
    """
    names, objects = _registered()
    for where, key, value in _strings(values):
        if key in ('_scope_', 'default_scope'):
            is_safe = value in _SCOPES
        elif key == 'type' or (
            '.' in value and (key.endswith('_type') or key in _LOOKED_UP)
        ):
            module, _, name = value.rpartition('.')
            exact = getattr(sys.modules.get(module), name, None)
            is_safe = value in names or any(exact is known for known in objects)
        else:
            # A bare variable is for other parts.
            of_model = where.startswith('model.')
            is_safe = not ('://' in value or value.endswith(_PROGRAMS))
            is_safe &= not (of_model and ('/' in value or '\\' in value))
            is_safe |= where == key
            is_safe &= key != 'sys_path'  # where mmengine imports a backend from
        if not is_safe:
            raise ValueError(
                f'The config in the checkpoint sets {where!r:.200} to {value!r:.200}, '
                'but a checkpoint may only name registered types of mmengine, '
                'mmpretrain, mmseg and mmkd_logit, and local files of plain data. '
                f'{_HINT}'
            )


def _strings(value: Any, where: str = '', key: str = '') -> Iterator[tuple[str, ...]]:
    """Yield place, key and value of all strings."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _strings(part, f'{where}.{name}' if where else name, str(name))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _strings(part, f'{where}[{index}]', key)
    elif isinstance(value, str):
        yield where, key, value


def _registered() -> tuple[set[str], list[Any]]:
    """Return the names of all types that a config may have, and the types."""
    # mmcv fills mmengine's own registries.
    for module in ('mmcv.cnn', *(f'{scope}.registry' for scope in _SCOPES)):
        with suppress(ImportError):
            import_module(module)
    names: set[str] = set()
    objects = []
    queue = [r for r in vars(mmengine.registry).values() if isinstance(r, Registry)]
    for registry in queue:
        queue.extend(registry.children.values())
        if registry.scope not in _SCOPES:
            continue
        registry.import_from_location()
        for name, kind in registry.module_dict.items():
            module = str(getattr(kind, '__module__', ''))
            if (
                module.partition('.')[0] in _PACKAGES
                and name not in _UNSAFE
                and not module.startswith(_UNSAFE_PACKAGE)
            ):
                names.update((name, f'{registry.scope}.{name}'))
                objects.append(kind)
    return names, objects
