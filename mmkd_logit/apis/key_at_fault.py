"""The key of a config at which a toolbox failed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.error import URLError

from mmengine.config import Config

from mmkd_logit.apis.config import dataset_type
from mmkd_logit.errors import (
    frames_of,
    is_about_surroundings,
    is_mistake,
    is_ours,
    message_of,
    origin_of,
)
from mmkd_logit.flat import containers_in
from mmkd_logit.views import without_views

_Nodes = list[tuple[str, Any]]
# How mmengine's builders call what they build.
_BUILT = 'cfg', 'hook'


@contextmanager
def naming_key(cfg: Config) -> Iterator[None]:
    """Name the key of the part that failed, in what a mistake raises.

    Args:
        cfg (Config): The config of what is built, and perhaps run, inside.

    Raises:
        ValueError: In place of any other exception.
    """
    written = copy.deepcopy(cfg._cfg_dict)
    if written.get('train_dataloader') is not None:
        written['train_dataloader'] = without_views(written['train_dataloader'])
    # Without the root and empty ones.
    nodes = [(key, node) for key, node in containers_in(written) if key and node]
    try:
        yield
    except Exception as error:
        if not is_mistake(error):
            raise
        key, part = _not_built(error, nodes)
        says = f'{key} cannot be built: {message_of(error)}'
        if is_ours(error):
            # Our messages name keys of the model as the model does: losses.kd, teacher.
            key = None if key == 'model' else key
            says = f'{key}: {message_of(error)}'
        elif key is None and not is_about_surroundings(error):
            key = _failed(error, nodes)
            says = f'{key} failed: {message_of(error)}'
        if key is None:
            raise
        by_hand = _by_hand(error, key, part, cfg.get('default_scope'))
        raise ValueError(f'{says}{by_hand}') from error


def _not_built(error: BaseException, nodes: _Nodes) -> tuple[str | None, Any]:
    """Return the key and the settings of what mmengine was building, None if nothing.

    Builders copy settings and add to them.
    """
    unknown: list[Any] = []
    for frame in _frames(error):
        known = frame.f_locals
        if not frame.f_globals.get('__name__', '').startswith('mmengine.'):
            continue
        if frame.f_code.co_name == '__init__' and 'cfg' in known:
            continue  # the Runner, which has the whole config
        given = [known['cfg']] if 'cfg' in known else list(known.values())
        fits = [
            (key, part)
            for key, part in nodes
            if any(_holds(value, part) for value in given)
        ]
        if fits:
            key, part = max(fits, key=lambda fit: len(fit[1]))
            inside = dict(part if isinstance(part, Mapping) else enumerate(part))
            names = [name for name, value in inside.items() if value in unknown]
            if len(names) == 1:
                (name,) = names
                key += f'[{name}]' if isinstance(name, int) else f'.{name}'
            return key, part
        unknown += [known[name] for name in _BUILT if name in known]
    return None, None


def _holds(built: Any, part: Any) -> bool:
    if isinstance(part, Mapping):
        return isinstance(built, Mapping) and all(
            key in built and built[key] == value
            for key, value in part.items()
            if key != 'data_preprocessor'  # which mmengine puts into that of a model
        )
    return isinstance(built, list) and built == part and any(map(_is_dict, part))


def _failed(error: BaseException, nodes: _Nodes) -> str | None:
    """Return the key of what failed after it was built, by the name of its class."""
    for frame in _frames(error):
        if frame.f_globals.get('__name__') == 'mmengine.runner.loops':
            return None  # all that a training does
        name = type(frame.f_locals.get('self')).__name__
        keys = [key for key, part in nodes if _is_dict(part) and _names(part, name)]
        if keys:
            return ' or '.join(keys)
    return None


def _names(part: Mapping[str, Any], class_name: str) -> bool:
    return str(part.get('type')).rpartition('.')[2] == class_name


def _is_dict(part: Any) -> bool:
    return isinstance(part, Mapping)


def _frames(error: BaseException) -> list[FrameType]:
    """Return the frames of the traceback of its origin, the innermost first."""
    frames = [entry.tb_frame for entry in reversed(frames_of(error))]
    first = origin_of(error)
    return frames if first is error else [*_frames(first), *frames]


def _by_hand(error: BaseException, key: str, part: Any, scope: str | None) -> str:
    """Say how to do without a network, where a dataset downloads itself."""
    if not isinstance(error, URLError) or not isinstance(part, Mapping):
        return ''
    url = getattr(dataset_type(dict(part), scope), 'url', None)
    if url is None:
        return ''
    return (
        f'. Download {url} by other means and unpack it in {part.get("data_root")!r}, '
        f'or set {key}.data_root to where the data is.'
    )
