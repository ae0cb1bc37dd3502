from __future__ import annotations

import copy

import pytest
import torch
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from torch import Tensor, nn

from mmkd_logit.modules.losses.logit_queue import LogitQueue

SIZE, CLASSES = 5, 3


def rows(first: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows that can be told apart: logits, image index, class."""
    numbers = torch.arange(first, first + count)
    angle = numbers / 100
    logits = torch.stack([angle.cos(), angle.sin(), 0 * angle], 1) * (
        1 + angle[:, None]
    )
    return logits, numbers, numbers % CLASSES


def held(queue: LogitQueue) -> list[int]:
    """The numbers of the rows in the queue; each is whole."""
    numbers = queue.image_index
    assert torch.equal(queue.labels, numbers % CLASSES)
    angle = torch.atan2(queue.logits[:, 1].float(), queue.logits[:, 0].float()) * 100
    torch.testing.assert_close(angle, numbers.float(), atol=0.06, rtol=0)
    return sorted(numbers.tolist())


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
@pytest.mark.parametrize('batch', [1, 2, 3, 5, 7, 12])
def test_holds_the_latest_rows(batch: int, dtype: str) -> None:
    queue = LogitQueue(SIZE, CLASSES, dtype)
    assert len(queue) == 0 and queue.logits.shape == (0, CLASSES)
    for step in range(6):
        queue.push(*rows(step * batch, batch))
        seen = (step + 1) * batch
        assert held(queue) == list(range(max(0, seen - SIZE), seen))
    assert queue.logits.dtype == getattr(torch, dtype)
    length = queue.logits.float().norm(dim=1)
    torch.testing.assert_close(length, torch.ones(SIZE), atol=1e-3, rtol=0)


def test_no_rows_change_nothing() -> None:
    queue = LogitQueue(SIZE, CLASSES)
    queue.push(*rows(0, 3))
    queue.push(*rows(3, 0))
    assert held(queue) == [0, 1, 2]


def test_reading_it_copies_nothing() -> None:
    queue = LogitQueue(SIZE, CLASSES)
    queue.push(*rows(0, SIZE))
    place = queue.logits.data_ptr()
    queue.push(*rows(SIZE, 3))
    assert queue.logits.data_ptr() == place


def test_unknown_images_and_classes() -> None:
    queue = LogitQueue(SIZE, CLASSES)
    queue.push(*rows(1, SIZE))
    queue.push(rows(0, 2)[0], None, None)
    assert queue.image_index.tolist() == [-1, -1, 3, 4, 5]
    assert queue.labels.tolist() == [-1, -1, 0, 1, 2]


def test_double_precision_rows_of_any_size() -> None:
    queue = LogitQueue(SIZE, CLASSES)
    sizes = torch.tensor([[0.0], [1e-200], [1e60], [1e300]], dtype=torch.float64)
    queue.push(sizes.expand(-1, CLASSES), None, None)
    expected = torch.full((4, CLASSES), CLASSES**-0.5)
    expected[0] = 0
    torch.testing.assert_close(queue.logits, expected)


def test_large_logits_fit_half_precision() -> None:
    queue = LogitQueue(SIZE, CLASSES, 'float16')
    queue.push(torch.tensor([[3e38, -3e38, 0.0]]), None, None)
    expected = torch.tensor([[0.5**0.5, -(0.5**0.5), 0.0]]).half()
    assert torch.equal(queue.logits, expected)


def model(**settings) -> nn.Module:
    return nn.ModuleDict({'queue': LogitQueue(SIZE, CLASSES, **settings)})


@pytest.mark.parametrize('mmengine', [False, True])
def test_resumes_with_the_checkpoint(mmengine: bool) -> None:
    saved, loaded = model(), model()
    saved['queue'].push(*rows(0, 7))
    if mmengine:
        load_state_dict(loaded, get_state_dict(saved), strict=True)
    else:
        loaded.load_state_dict(saved.state_dict())
    for each in (saved, loaded):
        each['queue'].push(*rows(7, 2))
    assert held(loaded['queue']) == [4, 5, 6, 7, 8]
    assert torch.equal(loaded['queue'].image_index, saved['queue'].image_index)


def test_can_be_left_out_of_the_checkpoint() -> None:
    saved = model(save=False)
    saved['queue'].push(*rows(0, 7))
    assert not saved.state_dict()
    loaded = model()
    loaded.load_state_dict(saved.state_dict())
    assert len(loaded['queue']) == 0
    saved = model()
    saved['queue'].push(*rows(0, 7))
    loaded = model(save=False)
    loaded.load_state_dict(saved.state_dict())
    assert len(loaded['queue']) == 0


@pytest.mark.parametrize(
    ('size', 'message'),
    [
        ((SIZE + 1, CLASSES), 'Set queue_size=5'),
        ((SIZE, CLASSES + 1), 'have 3 classes.* this model has 4'),
    ],
)
def test_another_shape_in_the_checkpoint(size: tuple[int, int], message: str) -> None:
    loaded = nn.ModuleDict({'queue': LogitQueue(*size)})
    with pytest.raises(ValueError, match=message):
        loaded.load_state_dict(model().state_dict())


def test_ema_and_ddp_do_not_see_it() -> None:
    queue = LogitQueue(SIZE, CLASSES)
    queue.push(*rows(0, 4))
    copied = copy.deepcopy(queue)
    assert not list(queue.buffers()) and not list(queue.parameters())
    assert copied.logits.data_ptr() == queue.logits.data_ptr()
    assert not copied.state_dict() and queue.state_dict()


def test_follows_the_model(device: str) -> None:
    queue = model()['queue'].to(device).half()
    assert queue.logits.device.type == queue.labels.device.type == device
    assert queue.logits.dtype == torch.float32


def test_clear_errors() -> None:
    for size in (0, 4.5):
        with pytest.raises(ValueError, match=f'integer of 1 or more, but got {size}'):
            LogitQueue(size, CLASSES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'float32' or 'float16', but got 'int8'"):
        LogitQueue(SIZE, CLASSES, 'int8')
    with pytest.raises(ValueError, match='logits of 3 classes, but got 4'):
        LogitQueue(SIZE, CLASSES).push(torch.zeros(2, 4), None, None)


def test_checkpoint_of_an_empty_queue_or_of_half_a_queue() -> None:
    saved = LogitQueue(None, CLASSES).state_dict()  # before the first step
    queue = LogitQueue(SIZE, CLASSES)
    queue.push(*rows(0, 2))
    queue.load_state_dict(saved)
    assert held(queue) == [0, 1]
    state = queue.state_dict()
    del state['pushed']
    with pytest.raises(ValueError, match=r'lacks pushed of its queue.*save_queue'):
        queue.load_state_dict(state)
