from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Dict, List, Optional, Union  # noqa: UP035

import pytest
import torch
from mmengine.config import ConfigDict

from mmkd_logit.models.annotations import check_type, find_misfit


@pytest.mark.parametrize(
    ('hint', 'fits', 'misfits'),
    [
        (float, [1, -0.5], [True, '1', None, math.inf, math.nan, [1.0], {}]),
        (int, [0, -3], [1.0, True, '1', None]),
        (bool, [True, False], [0, 1, 'True', None]),
        (str, ['', 'x'], [None, 1, ['x']]),
        (str | None, ['x', None], [1, []]),
        (Optional[int], [1, None], [1.5, 'x']),  # noqa: UP045
        (dict | list[dict], [{}, [{}], (), ConfigDict(a=1)], [None, 3, [1], 'x']),
        (dict[str, list[str]], [{}, {'a': ['b']}], [{'a': 'b'}, {'a': [1]}, []]),
        (Sequence[float], [[1, 2.5], (3,), []], ['ab', [None], 1.0, [math.inf]]),
        (Mapping[str, Any], [{}, {'a': None}], [[], 'x']),
        (Union[List[int], Dict], [[1], {}], ['x', [1.5]]),  # noqa: UP006, UP007
        (Callable[..., Any], [len], ['len', None]),
        (torch.nn.Module | dict, [torch.nn.ReLU(), {}], ['ReLU', None]),
        (Any, [None, 1, 'x', math.nan], []),
        ('not resolved', [None, 1, 'x'], []),
    ],
)
def test_types(hint: Any, fits: list, misfits: list) -> None:
    for value in fits:
        assert find_misfit(hint, value, 'key') is None, value
    for value in misfits:
        assert find_misfit(hint, value, 'key') is not None, value


def test_annotations_of_others_are_read_leniently() -> None:
    for hint, value in ((int, 0.5), (float, math.inf), (list[int], ['x'])):
        assert find_misfit(hint, value, 'key', strict=False) is None
    for hint, value in ((int, 'x'), (float, None), (list[int], 3), (bool, 3)):
        assert find_misfit(hint, value, 'key', strict=False) is not None


@pytest.mark.parametrize(
    ('hint', 'value', 'message'),
    [
        (float | None, 'x', "key must be a finite number or None, but got 'x'."),
        (list[float], [1, 'x'], "key[1] must be a finite number, but got 'x'."),
        (list[str] | str, 3, 'key must be a list of strings or a string, but got 3.'),
        (dict[str, dict], {'kd': 3}, 'key.kd must be a dict, but got 3.'),
        (dict[str, dict], 3, 'key must be a dict of dicts, but got 3.'),
        (dict | list[dict] | None, [1], 'key[0] must be a dict, but got 1.'),
        (bool | dict, 'x', "key must be True or False or a dict, but got 'x'."),
        (torch.nn.Module, 3, 'key must be an object of the class Module, but got 3.'),
        (torch.nn.Module | dict | None, 3, 'key must be a dict or None, but got 3.'),
        (Sequence[str | dict], 3, 'key must be a list, but got 3.'),
    ],
)
def test_messages(hint: Any, value: Any, message: str) -> None:
    with pytest.raises(TypeError) as error:
        check_type(hint, value, 'key')
    assert str(error.value) == message
