"""Construction of parts from settings, with errors that name the setting at fault."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from mmengine.registry import Registry

from mmkd_logit.models.annotations import check_type
from mmkd_logit.registry import MODELS

# Packages whose annotations are exact, the first in all details.
_ANNOTATED = 'mmkd_logit.', 'mmengine.', 'mmpretrain.', 'mmseg.', 'torch.'
# Whose ``**kwargs`` are those of the next base.
_PASSES_ON = 'mmengine.optim.scheduler.'


def is_distiller(model: Mapping[str, Any]) -> bool:
    """Return whether a model's config is that of a distiller or a subclass."""
    from mmkd_logit.models.distillers import LogitDistiller

    return _is_a(model, LogitDistiller)


def is_probe(model: Mapping[str, Any]) -> bool:
    """Return whether a model's config is that of a linear probe or a subclass."""
    from mmkd_logit.models.classifiers import LinearProbe

    return _is_a(model, LinearProbe)


def _is_a(model: Mapping[str, Any], base: type) -> bool:
    kind = model.get('type')
    if isinstance(kind, str):
        name = kind.rpartition('.')[2]
        kind = MODELS.module_dict.get(name)
        if kind is None:
            return name == base.__name__
    return isinstance(kind, type) and issubclass(kind, base)


def build_part(
    settings: Mapping[str, Any],
    where: str,
    known: Mapping[str, Any] | None = None,
    registry: Registry = MODELS,
) -> Any:
    """Build a loss, a head or a transform, from this package or the user's own.

    Args:
        settings (dict): Its config, with a ``type``.
        where (str): Name of the setting in the distiller, for messages.
        known (dict, optional): Arguments that the distiller knows. They are filled in
            if the class takes them. Defaults to None.
        registry (Registry): Registry of the types. Defaults to ``MODELS``.

    Returns:
        Any: The object.

    Raises:
        TypeError: If there is a key that the class does not take.
        ValueError: If there is no ``type``, or a setting is out of range.
        KeyError: If the type is not registered.
    """
    if not isinstance(settings, Mapping) or 'type' not in settings:
        raise ValueError(
            f"{where} must be a dict with a type, such as dict(type='KDLoss'), but got "
            f'{settings!r}.'
        )
    keys = {k: v for k, v in settings.items() if k not in ('type', '_scope_')}
    scope = settings.get('_scope_', 'mmkd_logit')
    with registry.switch_scope_and_registry(scope) as here:
        kind = settings['type']
        if isinstance(kind, str):
            kind = _look_up(here, kind, where)
        if not callable(kind):
            raise TypeError(f'{where}.type must be a name, but got {kind!r}.')
        check_keys(kind, keys, where)
        takes = parameters_of(kind)
        filled_in = {k: v for k, v in (known or {}).items() if k in takes}
        try:
            return kind(**{**filled_in, **keys})
        except TypeError as error:
            raise TypeError(f'{where}: {error}') from error
        except ValueError as error:
            raise ValueError(f'{where}: {error}') from error
        except KeyError as error:
            raise KeyError(f'{where}: {error.args[0]}') from error


def _look_up(registry: Registry, kind: str, where: str) -> Callable:
    try:
        found = registry.get(kind)
    except RuntimeError:  # mmengine could not import it either
        found = None
    if found is None:
        raise KeyError(
            f'{where}.type is {kind!r}, which is not registered. Check its spelling, '
            'or import the module that registers it: '
            "custom_imports=dict(imports=['my_module'])."
        )
    return found


def parameters_of(kind: Callable) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class, including those that it passes to its bases.

    Args:
        kind (Callable): A class or function. An ``__init__`` must pass what it collects
            as ``**common`` to its base, and refuse what it collects as ``**unknown``.

    Returns:
        dict[str, Parameter]: By name. One of kind ``VAR_KEYWORD`` is included only if
        the accepted keys cannot be determined.
    """
    if not isinstance(kind, type):
        return {parameter.name: parameter for parameter in _parameters(kind)}
    found: dict[str, inspect.Parameter] = {}
    for base in kind.__mro__:
        if '__init__' not in vars(base):
            continue
        try:
            _, *own = _parameters(vars(base)['__init__'])
        except (TypeError, ValueError):  # not written in Python, or not a function
            break
        for each in own:
            if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY):
                found.setdefault(each.name, each)
        rest = [each.name for each in own if each.kind is each.VAR_KEYWORD]
        if rest in ([], ['unknown']):
            return found
        if rest != ['common'] and not base.__module__.startswith(_PASSES_ON):
            break  # what it does with them is unknown
    anything = inspect.Parameter('kwargs', inspect.Parameter.VAR_KEYWORD)
    return {**found, 'kwargs': anything}


def _parameters(function: Callable) -> list[inspect.Parameter]:
    """Return the parameters of a function, with their annotations as types."""
    names = getattr(function, '__globals__', {})
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        hint = parameter.annotation
        if isinstance(hint, str):
            try:
                hint = eval(hint, names)
            except Exception:  # such as one that is imported for type checkers only
                hint = parameter.empty
        parameters.append(parameter.replace(annotation=hint))
    return parameters


def check_keys(kind: Callable, keys: Mapping[str, Any], where: str) -> None:
    """Check that a class takes every key of its config, with a value of its type.

    The types are those that ``__init__`` annotates, here and in the toolboxes.

    Args:
        kind (Callable): The class. Its ``renamed`` may list keys of older releases,
            each with advice on what to write instead.
        keys (Mapping[str, Any]): The config, without ``type``.
        where (str): Name of the setting, for the message.

    Raises:
        TypeError: For the first key that is unknown, or has a value of another type.
    """
    known = parameters_of(kind)
    for key, value in keys.items():
        key = str(key)
        if key in known:
            _check_type(kind, known[key], value, f'{where}.{key}' if where else key)
            continue
        if key in (renamed := getattr(kind, 'renamed', {})):
            raise TypeError(
                f'{where} has the key {key!r}, which only older releases accept. '
                f'{renamed[key]}'
            )
        if any(p.kind is p.VAR_KEYWORD for p in known.values()):
            continue
        raise TypeError(
            f'{where} has the unknown key {key!r}. {did_you_mean(key, known, 0.6)}'
            f'{getattr(kind, "__name__", kind)} takes {", ".join(known)}.'
        )


def _check_type(
    kind: Callable, parameter: inspect.Parameter, value: Any, key: str
) -> None:
    if value is parameter.default or not kind.__module__.startswith(_ANNOTATED):
        return
    strict = kind.__module__.startswith(_ANNOTATED[0])
    hint: Any = parameter.annotation
    if hint is parameter.empty and isinstance(parameter.default, int | float):
        hint = type(parameter.default)
    check_type(hint, value, key, strict)


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.92) -> str:
    """Return a question that proposes a known name, or '' if none is similar.

    Args:
        name (str): The unknown name.
        known (Iterable[str]): The names to choose from.
        cutoff (float): Smallest similarity, from 0 to 1. Defaults to 0.92.

    Returns:
        str: One sentence, with a space at its end.
    """
    close = get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f'Did you mean {close[0]!r}? ' if close else ''
