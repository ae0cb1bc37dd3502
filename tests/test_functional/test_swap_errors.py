from __future__ import annotations

import pytest
import torch

from mmkd_logit.functional import swap_errors


def test_the_label_gets_the_largest_logit() -> None:
    logits = 5 * torch.randn(40, 6, dtype=torch.float64)
    target = torch.randint(6, (40,))
    before = logits.clone()
    swapped = swap_errors(logits, target)
    assert torch.equal(logits, before)
    for old, new, label in zip(logits.tolist(), swapped.tolist(), target.tolist()):
        place = old.index(max(old))
        old[place], old[label] = old[label], old[place]
        assert new == old


def test_a_tie_at_the_top_changes_nothing() -> None:
    logits = torch.tensor([[3.0, 3.0, 1.0], [3.0, 3.0, 1.0], [2.0, 2.0, 2.0]])
    assert torch.equal(swap_errors(logits, torch.tensor([0, 1, 2])), logits)


def test_no_rows_and_one_class() -> None:
    empty = torch.zeros(0, dtype=torch.long)
    assert swap_errors(torch.zeros(0, 4), empty).shape == (0, 4)
    one = torch.randn(2, 1)
    assert torch.equal(swap_errors(one, torch.zeros(2, dtype=torch.long)), one)


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match='classes from 0 to 2, but got 3'):
        swap_errors(torch.zeros(2, 3), torch.tensor([0, 3]))
    with pytest.raises(TypeError, match='class indices'):
        swap_errors(torch.zeros(2, 3), torch.zeros(2))
