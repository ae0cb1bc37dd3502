"""Which classes of a teacher are those of the student."""

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
    """The teacher's class of each class of the student.

    The softmax over some of the teacher's logits is its softmax over all classes,
    renormalized to those: a subset loses nothing.

    Args:
        class_map (Any): For each class of the student in order, an index or a name of
            the teacher's; 'names': the class of the same name; a dict: the teacher's
            names by the student's, others by the same name. None: they are the same.
        who (str): The teacher's name, for messages.
        classes (int): Number of the student's classes.
        names (Sequence[str], optional): Their names.
        their_classes (int, optional): Number of the teacher's classes; None if it shows
            in the first step only.
        their_names (Sequence[str], optional): Their names.

    Returns:
        list[int] | None: An index of the teacher's for each class of the student; None
        if they are the same.

    Raises:
        ValueError: If they are not the same and there is no map, or the map does not
            fit.
    """
    if their_classes is None and their_names:
        their_classes = len(their_names)
    if class_map is None:
        if their_classes is not None and their_classes != classes:
            proposal = _proposal(names, their_names)
            raise ValueError(
                f'{who} predicts {their_classes} classes, but the student {classes}. '
                'Both must be trained on the same classes, or teacher.class_map must '
                f"say which of the teacher's are the student's. {proposal}".rstrip()
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
            f'index or a name for each class of the student, but got {class_map!r}.'
        )
    if len(found) != classes:
        raise ValueError(
            f'teacher.class_map has {len(found)} classes, but the student {classes}. '
            'It must have one entry for each class of the student, in their order.'
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
            f"teacher.class_map takes the teacher's classes {twice[:_MOST]} more than "
            'once. Each class of the student needs one of its own.'
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
            'name its classes. Write indices.'
        )
    fulls, firsts = _places(their_names, _plain), _places(their_names, _first)
    found = fulls.get(_plain(entry), firsts.get(_plain(entry)))
    if found is None:
        raise ValueError(
            f'teacher.class_map[{place}] is {entry!r}, which is no class of {who}, or '
            f'more than one. Its classes begin with {_listed(their_names)}.'
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
            else "The TeacherCheckHook tells the training set's names: add it to "
            'default_hooks, or write teacher.class_map as a list.'
        )
        raise ValueError(
            'teacher.class_map matches names, but those of the classes of '
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
            f'{len(missing)} of the {len(names)} classes have no counterpart of the '
            f'same name in {who}: {_listed(missing)}. Its classes begin with '
            f'{_listed(their_names)}. Name the counterparts in '
            'teacher.class_map=dict(ours=theirs), or write a list of indices.'
        )
    return found


def match_class_names(names: Names, their_names: Names) -> tuple[list[int], list[str]]:
    """Find names among others, whatever their case, underscores and synonyms.

    Args:
        names (Sequence[str]): What is looked for.
        their_names (Sequence[str]): Where.

    Returns:
        tuple[list[int], list[str]]: The places of those that are found, and those that
        are not, or in more than one place.
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
    """Places of names by their key, where no two have the same."""
    counts = Counter(map(key, names))
    return {key(n): i for i, n in enumerate(names) if counts[key(n)] == 1}


def _plain(name: str) -> str:
    return ' '.join(str(name).replace('_', ' ').casefold().split())


def _first(name: str) -> str:
    """The first synonym: of 'tench, Tinca tinca' it is 'tench'."""
    return _plain(str(name).partition(',')[0])


def _proposal(names: Names | None, their_names: Names | None) -> str:
    if not their_names:
        return 'It does not name its classes.'
    if not names:
        return f'Its classes begin with {_listed(their_names)}.'
    found, missing = match_class_names(names, their_names)
    if not missing and len(set(found)) == len(found):
        return "All names of the student's are among them: set class_map='names'."
    return f'{len(found)} of {len(names)} names are among them; not {_listed(missing)}.'


def _listed(names: Names) -> str:
    rest = ', ...' if len(names) > _MOST else ''
    return ', '.join(map(repr, list(names)[:_MOST])) + rest
