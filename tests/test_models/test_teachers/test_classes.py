from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from mmseg.datasets import CityscapesDataset

from mmkd_logit.models import Teacher
from mmkd_logit.models.teachers.classes import match_class_names, match_classes
from mmkd_logit.registry import MODELS

OURS = ['goldfish', 'Traffic_Light', 'tench']
THEIRS = ['tench, Tinca tinca', 'road', 'traffic light', 'goldfish, Carassius auratus']


def match(class_map: Any, names: Any = OURS, theirs: Any = THEIRS) -> Any:
    return match_classes(class_map, 'teacher x', 3, names, 4, theirs)


@pytest.mark.parametrize(
    'class_map',
    [
        [3, 2, 0],
        ['goldfish', 'traffic light', 'tench, Tinca tinca'],
        ['goldfish', 2, 'Tench'],
        'names',
        {'goldfish': 'Goldfish, carassius_auratus'},
    ],
)
def test_every_form_of_a_map(class_map: Any) -> None:
    assert match(class_map) == [3, 2, 0]


def test_the_same_classes_need_no_map() -> None:
    assert match_classes(None, 'teacher x', 4, None, 4, None) is None
    # It shows when the teacher runs.
    assert match_classes(None, 'teacher x', 4, None, None, None) is None


def test_a_name_must_be_clear() -> None:
    """ImageNet has two cranes, of which one has a synonym."""
    theirs = ['crane', 'crane, machine', 'maillot', 'maillot, tank suit', 'sun', 'sun']
    assert match_class_names(['crane', 'Maillot, Tank Suit'], theirs) == ([0, 3], [])
    assert match_class_names(['sun', 'moon'], theirs) == ([], ['sun', 'moon'])
    # A synonym of ours may be another class of theirs.
    theirs = ['shop', 'shop, store']
    assert match_class_names(['shop, kiosk'], theirs) == ([], ['shop, kiosk'])
    # Two of ours must not become one of theirs.
    found = match_class_names(['bow, a knot', 'bow, a weapon'], ['bow', 'arrow'])
    assert found == ([], ['bow, a knot', 'bow, a weapon'])


@pytest.mark.parametrize('subset', ['imagenet-21k-goog', 'imagenet-12k'])
def test_imagenet_1k_in_what_is_larger(subset: str) -> None:
    """By mmpretrain's names and timm's descriptions, judged by WordNet's numbers."""
    info = pytest.importorskip('timm.data').ImageNetInfo
    names, larger = IMAGENET_CATEGORIES, info(subset)
    theirs = larger.label_descriptions()
    found, missing = match_class_names(names, theirs)
    # Such as two cranes, and names that WordNet has changed since.
    assert 0 < len(missing) < 60
    rest = iter(found)
    numbers, places = info('imagenet-1k').label_names(), larger.label_names()
    for name, number in zip(names, numbers):
        if name not in missing:
            assert places[next(rest)] == number, name

    # Those that are not found are named, and can be written as indices.
    with pytest.raises(ValueError, match=f'{len(missing)} of the 1000 classes have no'):
        match_classes('names', 'teacher x', 1000, names, len(theirs), theirs)
    by_number = {number: place for place, number in enumerate(places)}
    known = [number for number in numbers if number in by_number]
    assert len(known) > 990
    chosen = match_classes(
        *([by_number[number] for number in known], 'teacher x', len(known)),
        *(None, len(theirs), theirs),
    )
    logits = torch.randn(2, len(theirs), dtype=torch.float64)
    part = logits.softmax(1)[:, chosen]
    torch.testing.assert_close(logits[:, chosen].softmax(1), part / part.sum(1, True))


def test_cityscapes_to_some_of_its_classes() -> None:
    theirs = CityscapesDataset.METAINFO['classes']
    ours = ['Road', 'traffic light', 'person', 'sky']
    found = match_classes('names', 'teacher x', 4, ours, len(theirs), theirs)
    assert [theirs[place] for place in found] == [name.lower() for name in ours]
    with pytest.raises(ValueError, match='2 of the 3 classes .* vehicle'):
        names = ['sky', 'large vehicle', 'small vehicle']
        match_classes('names', 'teacher x', 3, names, len(theirs), theirs)
    renamed = {'large vehicle': 'truck', 'small vehicle': 'car'}
    found = match_classes(renamed, 'teacher x', 3, names, len(theirs), theirs)
    assert [theirs[place] for place in found] == ['sky', 'truck', 'car']


@pytest.mark.parametrize(
    'settings, said',
    [
        (
            dict(class_map=None),
            "4 classes, but the student has 3.*set class_map='names'",
        ),
        (dict(class_map=None, names=['tench', 'a', 'b']), "1 of 3 .*; not 'a', 'b'"),
        (dict(class_map=None, names=None), "Its classes begin with 'tench, Tinca"),
        (dict(class_map=None, theirs=None), 'It does not name its classes.$'),
        (dict(class_map=[0, 1]), 'has 2 classes, but the student has 3'),
        (dict(class_map=[0, 1, 4]), r'holds \[4\], .* numbered from 0 to 3'),
        (dict(class_map=[0, 1, 1]), r'classes \[1\] more than once'),
        (
            dict(class_map=[0, 1, 'moon']),
            r"class_map\[2\] is 'moon', which is not a class",
        ),
        (dict(class_map=[0, 1, 1.5]), r'class_map\[2\] must be an index or a name'),
        (dict(class_map=[0, 1, 'a'], theirs=None), 'does not name its classes. Use'),
        (dict(class_map='index'), "must be 'names', a dict of names, or a list"),
        (dict(class_map='names', names=None), 'TeacherCheckHook provides'),
        (dict(class_map='names', theirs=None), 'of teacher x are not known'),
        (dict(class_map='names', names=['tench', 'a', 'b']), "2 of the 3 .*'a', 'b'"),
        (dict(class_map={'moon': 'road'}), "renames 'moon', which the training set"),
    ],
)
def test_maps_that_do_not_fit(settings: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        match(**settings)


def test_a_subset_is_an_exact_renormalization(
    classifier: Callable[..., dict], tmp_path: Path
) -> None:
    model = classifier(num_classes=7)
    torch.manual_seed(3)
    state = MODELS.build(model).state_dict()
    state['head.fc.weight'] *= 100
    path = tmp_path / 'teacher.pth'
    torch.save(
        {'state_dict': state, 'meta': {'dataset_meta': {'classes': list('gfedcba')}}},
        path,
    )
    student = MODELS.build(classifier())
    inputs = torch.randn(4, 3, 8, 8)

    def teacher(class_map: Any) -> Teacher:
        made = Teacher(model=model, checkpoint=str(path), class_map=class_map)
        made.load(student)
        return made

    whole = teacher(None)(inputs).double().softmax(1)
    assert whole.std(0).max() > 0.01
    mapped = teacher('names')
    mapped.meet(5, ['a', 'b', 'c', 'd', 'e'], 7, 2)
    wanted = whole[:, [6, 5, 4, 3, 2]]
    wanted = wanted / wanted.sum(1, keepdim=True)
    torch.testing.assert_close(mapped(inputs).double().softmax(1), wanted)
    assert not mapped.predicts
