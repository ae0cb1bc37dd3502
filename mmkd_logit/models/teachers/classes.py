"""Matching of the teacher's classes with the student's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Names = Sequence[str]

_MOST = 5


def match_classes(
    class_map: Any,
    who: str,
    classes: int,
    names: Names | None,
    their_classes: int | None,
    their_names: Names | None,
) -> list[int] | None:
    """Match each class of the student with a class of the teacher.

    The softmax over a subset of the teacher's logits is its softmax over all classes,
    renormalized to the subset: nothing is lost.

    Args:
        class_map (Any): A list with the index or name of the teacher's class for each
            class of the student, in order; 'names': match by name; a dict: maps names
            of the student to names of the teacher, all others match by name. None: the
            classes are the same.
        who (str): The teacher's name, for messages.
        classes (int): Number of classes of the student.
        names (Sequence[str], optional): Their names.
        their_classes (int, optional): Number of classes of the teacher; None if unknown
            until the first step.
        their_names (Sequence[str], optional): Their names.

    Returns:
        list[int] | None: Index of the teacher's class for each class of the student;
        None if the classes are the same.

    Raises:
        ValueError: If they differ and there is no map, or the map does not fit.
    """
    if their_classes is None and their_names:
        their_classes = len(their_names)
    if class_map is None:
        if their_classes is not None and their_classes != classes:
            proposal = _proposal(names, their_names)
            raise ValueError(
                f'{who} predicts {their_classes} classes, but the student has '
                f'{classes}. Both must be trained on the same classes, or '
                "teacher.class_map must say which of the teacher's are the student's. "
                f'{proposal}'.rstrip()
            )
        return None
    if class_map == 'names' or isinstance(class_map, Mapping):
        renamed = {} if class_map == 'names' else dict(class_map)
        found = _by_names(renamed, who, names, their_names)
    elif isinstance(class_map, list | tuple):
        found = [
            _index(each, place, who, their_names)
            for place, each in enumerate(class_map)
        ]
    else:
        raise ValueError(
            "teacher.class_map must be 'names', a dict of names, or a list with an "
            f'index or name for each class of the student, but got {class_map!r}.'
        )
    if len(found) != classes:
        raise ValueError(
            f'teacher.class_map has {len(found)} classes, but the student has '
            f'{classes}. It must have one entry for each class of the student, in '
            'order.'
        )
    most = their_classes
    bad = [each for each in found if each < 0 or (most is not None and each >= most)]
    if bad:
        raise ValueError(
            f'teacher.class_map holds {bad[:_MOST]}, but the classes of {who} are '
            f'numbered from 0{"" if most is None else f" to {most - 1}"}.'
        )
    twice = [each for each, count in Counter(found).items() if count > 1]
    if twice:
        raise ValueError(
            f"teacher.class_map uses the teacher's classes {twice[:_MOST]} more than "
            'once. Each class of the student needs its own.'
        )
    return found


def _index(entry: Any, place: int, who: str, their_names: Names | None) -> int:
    if isinstance(entry, int) and not isinstance(entry, bool):
        return entry
    if not isinstance(entry, str):
        raise ValueError(
            f'teacher.class_map[{place}] must be an index or a name, but got {entry!r}.'
        )
    if not their_names:
        raise ValueError(
            f'teacher.class_map[{place}] is the name {entry!r}, but {who} does not '
            'name its classes. Use indices.'
        )
    fulls, firsts = _places(their_names, _plain), _places(their_names, _first)
    found = fulls.get(_plain(entry), firsts.get(_plain(entry)))
    if found is None:
        raise ValueError(
            f'teacher.class_map[{place}] is {entry!r}, which is not a class of {who}, '
            f'or more than one. Its classes begin with {_listed(their_names)}.'
        )
    return found


def _by_names(
    renamed: Mapping[str, str], who: str, names: Names | None, their_names: Names | None
) -> list[int]:
    if not names or not their_names:
        lacks = who if not their_names else 'the training set'
        remedy = (
            'Write teacher.class_map as a list of indices.'
            if not their_names
            else "The TeacherCheckHook provides the training set's names: add it to "
            'default_hooks, or write teacher.class_map as a list.'
        )
        raise ValueError(
            'teacher.class_map matches names, but the class names of '
            f'{lacks} are not known. {remedy}'
        )
    unknown = [name for name in renamed if name not in names]
    if unknown:
        raise ValueError(
            f'teacher.class_map renames {_listed(unknown)}, which the training set '
            f'does not have. Its classes begin with {_listed(names)}.'
        )
    found, missing = match_class_names([renamed.get(n, n) for n in names], their_names)
    if missing:
        raise ValueError(
            f'{len(missing)} of the {len(names)} classes have no class of the same '
            f'name in {who}: {_listed(missing)}. Its classes begin with '
            f'{_listed(their_names)}. Name the matching classes in '
            'teacher.class_map=dict(ours=theirs), or write a list of indices.'
        )
    return found


def match_class_names(names: Names, their_names: Names) -> tuple[list[int], list[str]]:
    """Find names among others, regardless of case, underscores and synonyms.

    Args:
        names (Sequence[str]): Names to look for.
        their_names (Sequence[str]): Names to search.

    Returns:
        tuple[list[int], list[str]]: The positions of the names found, and the names
        that were not found or are ambiguous.
    """
    fulls, firsts = _places(their_names, _plain), _places(their_names, _first)
    ours = Counter(_first(name) for name in names)
    found, missing = [], []
    for name in names:
        place = fulls.get(_plain(name), firsts.get(_plain(name)))
        if place is None and ours[_first(name)] == 1:
            place = firsts.get(_first(name))
        if place is None:
            missing.append(name)
        else:
            found.append(place)
    return found, missing


def _places(names: Names, key: Callable[[str], str]) -> dict[str, int]:
    """Map keys that only one name has to its position."""
    counts = Counter(map(key, names))
    return {key(n): i for i, n in enumerate(names) if counts[key(n)] == 1}


def _plain(name: str) -> str:
    return ' '.join(str(name).replace('_', ' ').casefold().split())


def _first(name: str) -> str:
    """Return the first synonym: 'tench' for 'tench, Tinca tinca'."""
    return _plain(str(name).partition(',')[0])


def _proposal(names: Names | None, their_names: Names | None) -> str:
    if not their_names:
        return 'It does not name its classes.'
    if not names:
        return f'Its classes begin with {_listed(their_names)}.'
    found, missing = match_class_names(names, their_names)
    if not missing and len(set(found)) == len(found):
        return "They include all of the student's names: set class_map='names'."
    return f'They include {len(found)} of {len(names)} names; not {_listed(missing)}.'


def _listed(names: Names) -> str:
    rest = ', ...' if len(names) > _MOST else ''
    return ', '.join(map(repr, list(names)[:_MOST])) + rest
