"""The header of a store, which says what its logits belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkd_logit.logit_store.records import LogitRecord, is_integer

HEADER = 'header.json'
FORMAT = 2
# Measurements and their software versions: they can differ in the last digit.
_MEASURED = ('made_with', 'metrics')
# A sampler adds this to the index of an image for each view.
_MOST_IMAGES = 2**40
_MOST_BYTES = 2**26


def plain_settings(value: Any, without: Sequence[str] = ('data_root',)) -> Any:
    """Convert settings to what JSON can hold, classes and functions to their names.

    Args:
        value (Any): Settings of a config.
        without (Sequence[str]): Keys to leave out, at any depth. Defaults to the data
            folder, which may move.

    Returns:
        Any: A copy.
    """
    if isinstance(value, Mapping):
        return {
            str(key): plain_settings(each, without)
            for key, each in value.items()
            if key not in without
        }
    if isinstance(value, list | tuple):
        return [plain_settings(each, without) for each in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value) and hasattr(value, '__qualname__'):
        return f'{value.__module__}.{value.__qualname__}'
    return str(value)


def identity_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return what identifies a store: its header without measurements."""
    return {key: header[key] for key in header if key not in _MEASURED}


def header_text(header: Mapping[str, Any]) -> str:
    """Return the text of a header's file, with its checksum."""
    return json.dumps({**header, 'sha256': _checksum(header)}, indent=1) + '\n'


def salt_of(header: Mapping[str, Any]) -> int:
    """Return the salt of a store's checksums, so that no other store has its records.

    Args:
        header (Mapping[str, Any]): Its header.

    Returns:
        int: From 0 to 2**32 - 1.
    """
    return int(_checksum(identity_of(header))[:8], 16)


def read_header(folder: Path) -> dict[str, Any]:
    """Read the header of a store.

    Args:
        folder (Path): Folder of the store.

    Returns:
        dict[str, Any]: The header, without its checksum.

    Raises:
        ValueError: If it is damaged, altered, or from another release, or a value has a
            type or range that the writer gives none.
    """
    path = folder / HEADER
    header, promised, digest = None, None, None
    try:
        # A pipe would be waited for, and a device has no end.
        is_short = path.is_file() and path.stat().st_size <= _MOST_BYTES
        header = json.loads(path.read_text(encoding='utf-8') if is_short else '')
        if isinstance(header, dict):
            promised = header.pop('sha256', None)
            digest = _checksum(header)
    except (OSError, ValueError, RecursionError):
        header = None
    if promised is None or header is None or 'format' not in header:
        raise ValueError(
            f'{path} is missing, truncated or not the header of stored logits. Store '
            'the logits again with tools/cache_teacher.py.'
        )
    if header['format'] != FORMAT:
        got = repr(header['format'])
        raise ValueError(
            f'{folder} has the format {got:.80}, but this release reads '
            f'{FORMAT}. Remove it, and store the logits again with '
            'tools/cache_teacher.py.'
        )
    if promised != digest:
        raise ValueError(
            f'{path} was altered: its checksum does not match, so what the logits '
            'belong to is unknown. Store them again with tools/cache_teacher.py.'
        )
    for key, (is_valid, expected) in _VALUES.items():
        if key not in header or not is_valid(header[key]):
            got = repr(header[key]) if key in header else 'missing'
            raise ValueError(
                f'{path}: {key} must be {expected}, but is {got:.80}. No '
                'tools/cache_teacher.py wrote this header; store the logits again.'
            )
    try:
        LogitRecord.from_header(header['record'])
    except ValueError as error:
        raise ValueError(f'{path}: record: {error} Store the logits again.') from None
    return header


def _is_count(value: Any) -> bool:
    return is_integer(value) and 0 < value <= _MOST_IMAGES


def _are_names(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and all(isinstance(name, str) for name in value)
    )


def _are_numbers(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(v, float) or is_integer(v) for v in value.values())
    )


def _are_flags(value: Any) -> bool:
    return isinstance(value, dict) and all(
        flag is None or isinstance(flag, bool) for flag in value.values()
    )


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


_COUNT = f'an integer from 1 to {_MOST_IMAGES:,}'
_NAMES = 'a list of names, or null'
# Of each value, what it may be.
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    'images': (_is_count, _COUNT),
    'views': (_is_count, _COUNT),
    'seed': (is_integer, 'an integer'),
    'record': (_is_dict, 'an object'),
    'dataset': (lambda value: value is None or _is_dict(value), 'an object, or null'),
    'classes': (_are_names, _NAMES),
    'normalization': (_is_dict, 'an object'),
    'teacher': (_is_dict, 'an object'),
    'teacher_weights': (lambda value: isinstance(value, str), 'a digest'),
    'teacher_classes': (_are_names, _NAMES),
    'traits': (_are_flags, 'an object of true, false or null'),
    'metrics': (_are_numbers, 'an object of numbers, or null'),
    'made_with': (_is_dict, 'an object'),
}


def _checksum(header: Mapping[str, Any]) -> str:
    text = json.dumps(header, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
