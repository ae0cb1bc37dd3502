"""Comparison of a config's values with the annotations of what takes them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin

_NAMES: dict[Any, str] = {
    NoneType: 'None',
    bool: 'True or False',
    float: 'a finite number',
    int: 'an integer',
    str: 'a string',
}
_PLURALS: dict[Any, str] = {
    dict: 'dicts',
    float: 'finite numbers',
    int: 'integers',
    str: 'strings',
}
_LISTS = list, tuple, Sequence
_OBJECT = 'an object of the class'


class Misfit(NamedTuple):
    """A value that does not fit an annotation.

    Args:
        key (str): Its dotted key.
        hint (Any): The annotation.
        value (Any): The value.
    """

    key: str
    hint: Any
    value: Any

    def __str__(self) -> str:
        return f'{self.key} must be {_described(self.hint)}, but got {self.value!r}.'


def find_misfit(hint: Any, value: Any, key: str, strict: bool = True) -> Misfit | None:
    """Find a value that does not fit the annotation of its parameter.

    Args:
        hint (Any): The annotation. One that is not known here fits every value.
        value (Any): The value, as a config holds it.
        key (str): Its dotted key.
        strict (bool): Whether to look into lists and dicts, to refuse infinity, and to
            tell integers from other numbers. Defaults to True.

    Returns:
        Misfit | None: The innermost value at fault; None if the value fits.
    """
    outer, inner = get_origin(hint) or hint, get_args(hint)
    if outer in (Union, UnionType):
        misfits = [find_misfit(part, value, key, strict) for part in inner]
        if None in misfits:
            return None
        inside = [misfit for misfit in misfits if misfit and misfit.key != key]
        return inside[0] if inside else Misfit(key, hint, value)
    if outer in (Any, Parameter.empty) or not isinstance(outer, type):
        return None
    if not _is_a(value, outer, strict):
        return Misfit(key, hint, value)
    if not inner or not strict:
        return None
    if isinstance(value, Mapping):
        parts = {f'{key}.{name}': part for name, part in value.items()}
    elif isinstance(value, list | tuple):
        parts = {f'{key}[{index}]': part for index, part in enumerate(value)}
    else:
        return None
    hint = inner[isinstance(value, Mapping)]
    misfits = [find_misfit(hint, part, name) for name, part in parts.items()]
    return next(filter(None, misfits), None)


def check_type(hint: Any, value: Any, key: str, strict: bool = True) -> None:
    """Raise ``TypeError`` if a value does not fit; see :func:`find_misfit`."""
    if misfit := find_misfit(hint, value, key, strict):
        raise TypeError(str(misfit))


def _is_a(value: Any, annotated: type, strict: bool) -> bool:
    if annotated in (float, int):
        if isinstance(value, bool) or not isinstance(value, float | int):
            return False
        if not strict:
            return True
        return math.isfinite(value) and (annotated is float or isinstance(value, int))
    if annotated in _LISTS:
        return isinstance(value, list | tuple)
    return isinstance(value, annotated)


def _described(hint: Any) -> str:
    outer, inner = get_origin(hint) or hint, get_args(hint)
    if outer in (Union, UnionType):
        texts = dict.fromkeys(map(_described, inner))
        # A config file holds no objects.
        plain = [text for text in texts if not text.startswith(_OBJECT)]
        return ' or '.join(plain or texts)
    if outer in _LISTS or issubclass(outer, Mapping):
        held = inner[-1] if inner else None
        plural = _PLURALS.get(get_origin(held) or held)
        container = 'a list' if outer in _LISTS else 'a dict'
        return f'{container} of {plural}' if plural else container
    return _NAMES.get(outer, f'{_OBJECT} {outer.__name__}')
