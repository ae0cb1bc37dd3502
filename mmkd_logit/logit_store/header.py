"""The header of a store, which says what its logits belong to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HEADER = 'header.json'
FORMAT = 1
# Measurements and their software versions: they can differ in the last digit.
_MEASURED = ('made_with', 'metrics')
_NEEDED = ('format', 'images', 'record', 'seed', 'sha256', 'views')


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


def read_header(folder: Path) -> dict[str, Any]:
    """Read the header of a store.

    Args:
        folder (Path): Folder of the store.

    Returns:
        dict[str, Any]: The header, without its checksum.

    Raises:
        ValueError: If it is damaged, altered, or from another release.
    """
    path = folder / HEADER
    try:
        header = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        header = None
    if not isinstance(header, dict) or any(key not in header for key in _NEEDED):
        raise ValueError(
            f'{path} is missing, truncated or not the header of stored logits. Store '
            'the logits again with tools/cache_teacher.py.'
        )
    if header['format'] != FORMAT:
        raise ValueError(
            f'{folder} has the format {header["format"]}, but this release reads '
            f'{FORMAT}. Store the logits again with tools/cache_teacher.py.'
        )
    if header.pop('sha256') != _checksum(header):
        raise ValueError(
            f'{path} was altered: its checksum does not match, so what the logits '
            'belong to is unknown. Store them again with tools/cache_teacher.py.'
        )
    return header


def _checksum(header: Mapping[str, Any]) -> str:
    text = json.dumps(header, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
