"""Nested settings by their dotted keys, and the differences between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(settings: Any, key: str = '') -> Iterator[tuple[str, str]]:
    """Yield every value of nested settings, as text.

    Args:
        settings (Any): Nested dicts and lists.
        key (str): Prefix of the keys. Defaults to ''.

    Yields:
        tuple[str, str]: A key such as ``'pipeline[0].type'``, and its value.
    """
    if isinstance(settings, Mapping) and settings:
        for name, value in settings.items():
            yield from leaves(value, f'{key}.{name}' if key else str(name))
    elif isinstance(settings, list | tuple) and settings:
        for place, value in enumerate(settings):
            yield from leaves(value, f'{key}[{place}]')
    else:
        yield key, str(settings)


def containers_in(settings: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every dict and list of nested settings, an outer one before those in it.

    Args:
        settings (Any): Nested dicts and lists.
        key (str): Prefix of the keys. Defaults to ''.

    Yields:
        tuple[str, dict | list]: Its key, such as ``'pipeline[0]'``, and itself.
    """
    if isinstance(settings, Mapping):
        yield key, settings
        for name, value in settings.items():
            yield from containers_in(value, f'{key}.{name}' if key else str(name))
    elif isinstance(settings, list | tuple):
        yield key, settings
        for index, value in enumerate(settings):
            yield from containers_in(value, f'{key}[{index}]')


def difference(here: Mapping[str, str], there: Mapping[str, str], most: int = 3) -> str:
    """Describe how settings differ from what they were; empty if they do not.

    Args:
        here (Mapping[str, str]): Current values, by dotted keys.
        there (Mapping[str, str]): Earlier values, by dotted keys.
        most (int): Maximum number of differences to name. Defaults to 3.

    Returns:
        str: Such as ``'lr is 0.1 and was 0.2; seed is 1 and was 0'``.
    """
    differing = [
        f'{key} is {here.get(key, "not set")} and was {there.get(key, "not set")}'
        for key in {**here, **there}
        if here.get(key) != there.get(key)
    ]
    more = len(differing) - most
    rest = f', and {more} more' if more > 0 else ''
    return '; '.join(differing[:most]) + rest
