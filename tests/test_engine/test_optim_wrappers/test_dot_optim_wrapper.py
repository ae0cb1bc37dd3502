from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp_module
import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import init_default_scope
from torch import Tensor, nn

from mmkd_logit.engine import DOTAmpOptimWrapper, DOTOptimWrapper
from mmkd_logit.functional import kd_loss
from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import MODELS

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')
DATA = np.load(Path(__file__).parents[2] / 'data' / 'dot.npz')


class Net(nn.Module):
    """That of the recorded numbers; distillation alone reaches ``aux``."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.body, self.head, self.aux = (
            nn.Linear(6, 5),
            nn.Linear(5, 4),
            nn.Linear(5, 4),
        )
        self.to(torch.float64)
        self.load_state_dict(recorded('init'))
        self.to(dtype)
        self.only_task = nn.Parameter(torch.zeros(4, dtype=dtype))

    def losses(self, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        x, y, teacher = (torch.tensor(DATA[key][rows]) for key in ('x', 'y', 'teacher'))
        x, teacher = x.to(self.only_task.dtype), teacher.to(self.only_task.dtype)
        hidden = torch.tanh(self.body(x))
        head = self.head(hidden)
        task = nn.functional.cross_entropy(head + self.only_task, y)
        tau = float(DATA['tau'])
        both = (kd_loss(each, teacher, tau) for each in (head, self.aux(hidden)))
        return task, 0.5 * sum(both)


def recorded(moment: str) -> dict[str, Tensor]:
    names = [key for key in DATA if key.startswith(f'{moment}.')]
    return {key.removeprefix(f'{moment}.'): torch.tensor(DATA[key]) for key in names}


def build(
    params: Any,
    kind: type[DOTOptimWrapper] = DOTOptimWrapper,
    delta: float = 0.075,
    settings: dict | None = None,
    **sgd: Any,
) -> DOTOptimWrapper:
    sgd = {'lr': 0.2, 'momentum': 0.9, 'weight_decay': 5e-4, **sgd}
    return kind(torch.optim.SGD(params, **sgd), delta=delta, **(settings or {}))


def step(wrapper: DOTOptimWrapper, task: Tensor | None, distill: Tensor | None) -> None:
    """As after a forward pass within its context."""
    total = sum(each for each in (task, distill) if each is not None)
    wrapper._losses = task, distill, total
    wrapper.update_params(total)


def values(net: nn.Module) -> list[Tensor]:
    return [param.detach().clone() for param in net.parameters()]


def assert_close(got: list, expected: list, rtol: float = 1e-10) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=rtol / 10)


def test_equals_the_recorded_steps() -> None:
    net = Net()
    net.only_task.requires_grad_(False)
    settings = {key: float(DATA[key]) for key in ('lr', 'momentum', 'weight_decay')}
    wrapper = build(net.parameters(), delta=float(DATA['delta']), **settings)
    moments = {0: 'after0', 1: 'after1', int(DATA['steps']) - 1: 'final'}
    for number in range(int(DATA['steps'])):
        task, distill = net.losses()
        for name, loss in (('task', task), ('distill', distill)):
            expected = DATA[f'loss_{name}.{number}']
            np.testing.assert_allclose(loss.item(), expected, rtol=1e-9)
        step(wrapper, task, distill)
        if number in moments:
            for name, value in recorded(moments[number]).items():
                got = net.get_parameter(name).detach()
                np.testing.assert_allclose(got, value, rtol=1e-9, atol=1e-12)


def naive(net: Net, steps: int, delta: float, groups: dict[str, dict]) -> None:
    """The update rule, one parameter after another."""
    buffers: dict[tuple[str, str], Tensor] = {}
    for _ in range(steps):
        losses = dict(zip(('task', 'distill'), net.losses()))
        named = dict(net.named_parameters())
        grads = {
            kind: dict(
                zip(
                    named,
                    torch.autograd.grad(
                        loss, list(named.values()), retain_graph=True, allow_unused=True
                    ),
                )
            )
            for kind, loss in losses.items()
        }
        for name, param in named.items():
            group = groups[name.split('.')[0]]
            both = all(grads[kind][name] is not None for kind in losses)
            move = torch.zeros_like(param)
            for kind, sign in (('task', -1), ('distill', 1)):
                grad = grads[kind][name]
                if grad is None:
                    continue
                first = (kind, name) not in buffers
                if kind == 'task' or (not both and not first):
                    grad = grad + group['weight_decay'] * param.detach()
                momentum = group['momentum'] + (sign * delta if both else 0)
                damp = 1 - group.get('dampening', 0)
                buffers[kind, name] = (
                    grad if first else momentum * buffers[kind, name] + damp * grad
                )
                move += group['lr'] * buffers[kind, name]
            param.data -= move


def test_hooks_that_torch_has_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.1 does once ``torch._dynamo`` is imported."""
    bare = torch.optim.SGD.step
    while hasattr(bare, '__wrapped__'):
        bare = bare.__wrapped__

    def unhooked(self: Any, *args: Any) -> Any:
        return bare(self, *args)

    unhooked.hooked = True  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.optim.SGD, 'step', unhooked)
    net = Net()
    wrapper = build(net.parameters())
    step(wrapper, *net.losses())
    states = [sorted(state) for state in wrapper.optimizer.state.values()]
    assert states.count(['distill_momentum_buffer', 'momentum_buffer']) == 4


def test_several_groups() -> None:
    """Each with its own learning rate, momentum, dampening and decay."""
    groups = {
        'body': dict(lr=0.1, momentum=0.9, weight_decay=0.1),
        'head': dict(lr=0.3, momentum=0.8, weight_decay=0.0, dampening=0.5),
        'aux': dict(lr=0.2, momentum=0.9, weight_decay=0.2),
        'only_task': dict(lr=0.2, momentum=0.7, weight_decay=0.3),
    }
    net, other = Net(), Net()
    params = [
        dict(
            params=[p for n, p in net.named_parameters() if n.startswith(name)], **group
        )
        for name, group in groups.items()
    ]
    wrapper = build(params, delta=0.05)
    before = values(net)
    for _ in range(5):
        step(wrapper, *net.losses())
    naive(other, 5, 0.05, groups)
    assert_close(values(net), values(other))
    assert all((a != b).any() for a, b in zip(before, values(net)))


def test_delta_0_is_plain_sgd() -> None:
    """Two halves of one momentum add up to it."""
    net, other = Net(), Net()
    net.aux.requires_grad_(False)  # which would begin without weight decay
    other.aux.requires_grad_(False)
    wrapper = build(net.parameters(), delta=0.0)
    sgd = torch.optim.SGD(other.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)
    for _ in range(5):
        step(wrapper, *net.losses())
        sgd.zero_grad()
        sum(other.losses()).backward()
        sgd.step()
    assert_close(values(net), values(other))


def test_gradients_are_accumulated_apart() -> None:
    net, other = Net(), Net()
    wrapper = build(net.parameters(), settings=dict(accumulative_counts=2))
    whole = build(other.parameters())
    for _ in range(3):
        before = values(net)
        step(wrapper, *net.losses(slice(0, 8)))
        assert_close(values(net), before, rtol=1e-15)
        step(wrapper, *net.losses(slice(8, 16)))
        step(whole, *other.losses())
    assert_close(values(net), values(other))


def test_clipping_by_the_norm_of_the_sum() -> None:
    net, other = Net(), Net()
    clip = dict(max_norm=0.05)
    wrapper = build(net.parameters(), settings=dict(clip_grad=clip))
    scaled = build(other.parameters())
    for _ in range(3):
        step(wrapper, *net.losses())
        losses = other.losses()
        grads = torch.autograd.grad(
            sum(losses), list(other.parameters()), retain_graph=True
        )
        norm = torch.cat([grad.flatten() for grad in grads]).norm().item()
        logged = wrapper.message_hub.get_scalar('train/grad_norm').current()
        assert logged == pytest.approx(norm, rel=1e-6) and norm > 0.05
        step(scaled, *(loss * 0.05 / (norm + 1e-6) for loss in losses))
    assert_close(values(net), values(other))


def test_goes_on_as_plain_sgd() -> None:
    """While one loss rests; the second momentum is left as it is."""
    net, other = Net(), Net()
    wrapper = build(net.parameters())
    for _ in range(2):
        step(wrapper, *net.losses())
    other.load_state_dict(net.state_dict())
    state = copy.deepcopy(wrapper.state_dict())
    key = 'distill_momentum_buffer'
    sgd = torch.optim.SGD(other.parameters(), lr=0.2, momentum=0.9, weight_decay=5e-4)
    sgd.load_state_dict(copy.deepcopy(state))
    for _ in range(2):
        step(wrapper, net.losses()[0], None)
        sgd.zero_grad()
        other.losses()[0].backward()
        sgd.step()
    assert_close(values(net), values(other), rtol=1e-14)
    kept = wrapper.state_dict()['state']
    for place, old in state['state'].items():
        assert (key in old) == (key in kept[place])
        assert key not in old or torch.equal(old[key], kept[place][key])


def test_resumes_bit_for_bit() -> None:
    net, other = Net(), Net()
    wrapper = build(net.parameters())
    for _ in range(3):
        step(wrapper, *net.losses())
    saved = copy.deepcopy((net.state_dict(), wrapper.state_dict()))
    buffers = [sorted(each) for each in saved[1]['state'].values()]
    assert buffers.count(['distill_momentum_buffer', 'momentum_buffer']) == 4
    again = build(other.parameters())
    other.load_state_dict(saved[0])
    again.load_state_dict(saved[1])
    for _ in range(3):
        step(wrapper, *net.losses())
        step(again, *other.losses())
    assert all(map(torch.equal, values(net), values(other)))


@pytest.fixture
def amp(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DOTOptimWrapper]:
    """Mixed precision on the CPU, which mmengine refuses."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('this torch scales losses on GPUs only')
    monkeypatch.setattr(amp_module, 'is_cuda_available', lambda: True)
    scaler = partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(amp_module, 'GradScaler', scaler)

    def make(net: Net, **settings: Any) -> DOTOptimWrapper:
        settings = {'loss_scale': 1024.0, 'dtype': 'bfloat16', **settings}
        return build(net.parameters(), DOTAmpOptimWrapper, settings=settings)

    return make


@pytest.mark.parametrize('clip', [None, dict(max_norm=0.05)])
def test_loss_scale_changes_nothing(amp: Callable[..., Any], clip: dict | None) -> None:
    net, other = Net(torch.float32), Net(torch.float32)
    scaled = amp(net, clip_grad=copy.copy(clip))
    plain = build(other.parameters(), settings=dict(clip_grad=copy.copy(clip)))
    before = values(net)
    for _ in range(3):
        step(scaled, *net.losses())
        step(plain, *other.losses())
    assert_close(values(net), values(other), rtol=1e-5)
    assert (before[0] != values(net)[0]).all()


@pytest.mark.parametrize('clip', [None, dict(max_norm=0.05)])
@pytest.mark.parametrize('loss', [0, 1])
def test_overflow_of_either_loss_skips_the_step(
    loss: int, clip: dict | None, amp: Callable[..., Any]
) -> None:
    net = Net(torch.float32)
    wrapper = amp(net, loss_scale=dict(init_scale=1024.0), clip_grad=clip)
    step(wrapper, *net.losses())
    before, state = values(net), copy.deepcopy(wrapper.optimizer.state_dict())
    losses = list(net.losses())
    losses[loss] = losses[loss] * 1e38 * 10
    step(wrapper, *losses)
    assert all(map(torch.equal, values(net), before))
    assert wrapper.loss_scaler.get_scale() == 512.0
    for place, old in state['state'].items():
        new = wrapper.optimizer.state_dict()['state'][place]
        assert all(torch.equal(old[key], new[key]) for key in old)
    step(wrapper, *net.losses())
    assert (before[0] != values(net)[0]).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_mixed_precision_on_a_gpu() -> None:
    net = Net(torch.float32).cuda()
    wrapper = build(
        net.parameters(), DOTAmpOptimWrapper, settings=dict(loss_scale=1024.0)
    )
    net.cpu()
    other = Net(torch.float32)
    net.cuda()
    plain = build(other.parameters())
    x, y, teacher = (torch.tensor(DATA[key]) for key in ('x', 'y', 'teacher'))
    for one, model, place in ((wrapper, net, 'cuda'), (plain, other, 'cpu')):
        for _ in range(3):
            hidden = torch.tanh(model.body(x.float().to(place)))
            head = model.head(hidden)
            task = nn.functional.cross_entropy(head + model.only_task, y.to(place))
            distill = kd_loss(head, teacher.to(place)) + kd_loss(
                model.aux(hidden), teacher.to(place)
            )
            step(one, task, distill)
    assert_close([x.cpu() for x in values(net)], values(other), rtol=1e-4)


def test_what_can_not_be_right_is_refused() -> None:
    params = list(Net().parameters())
    for delta, momentum in ((0.2, 0.9), (0.1, 0.9), (-0.1, 0.9), (0.075, 0.0)):
        with pytest.raises(ValueError, match=r'0 <= delta <= momentum and .*< 1'):
            build(params, delta=delta, momentum=momentum)
    with pytest.raises(ValueError, match='delta must be a finite number'):
        build(params, delta=float('nan'))
    with pytest.raises(ValueError, match='not defined for SGD with nesterov=True'):
        build(params, nesterov=True)
    with pytest.raises(ValueError, match='not defined for SGD with maximize=True'):
        build(params, maximize=True)
    with pytest.raises(TypeError, match='the optimizer is a AdamW'):
        DOTOptimWrapper(torch.optim.AdamW(params))
    clip = dict(type='value', clip_value=1.0)
    with pytest.raises(ValueError, match=r'clip_grad=dict\(max_norm=...\)'):
        build(params, settings=dict(clip_grad=clip))
    with pytest.raises(TypeError, match='the model is a Net'):
        build(params).initialize_count_status(Net(), 0, 10)
    with pytest.raises(RuntimeError, match='within optim_context, as train_step does'):
        build(params).update_params(torch.zeros((), requires_grad=True))


@pytest.fixture
def distiller(classifier: Callable[..., dict]) -> LogitDistiller:
    model = MODELS.build(
        dict(
            type='mmkd_logit.LogitDistiller',
            student=classifier(),
            teacher=dict(model=classifier(), checkpoint=None),
            aux_head=dict(type='LinearLogitHead'),
            losses=dict(
                kd=dict(type='KDLoss'), dhkd=dict(type='BinaryKLNormLoss', head='aux')
            ),
        )
    )
    model.init_weights()
    return model.eval()  # batch norm does not mix the images


def test_a_compiled_step_is_refused(
    distiller: LogitDistiller, batch: Callable[..., dict]
) -> None:
    wrapper = build(distiller.parameters())
    distiller.train_step = torch.compile(distiller.train_step, backend='eager')
    with pytest.raises(RuntimeError, match='Remove compile from the config'):
        type(distiller).train_step(distiller, batch(), wrapper)


def on_a_rank(rank: int, cwd: Path) -> None:
    """Train on half of the batch."""
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    dist.init_process_group('gloo', f'file://{cwd}/store', rank=rank, world_size=2)
    model, data = torch.load(cwd / 'given.pth', weights_only=False)
    half = {key: value[2 * rank : 2 * rank + 2] for key, value in data.items()}
    ddp = MMDistributedDataParallel(model)
    wrapper = build(ddp.parameters())
    for _ in range(3):
        ddp.train_step(copy.deepcopy(half), wrapper)
    torch.save(values(model), cwd / f'rank{rank}.pth')
    dist.destroy_process_group()


def test_two_processes(
    distiller: LogitDistiller, batch: Callable[..., dict], tmp_path: Path
) -> None:
    torch.manual_seed(1)  # with 0, rounding on torch 2.1 decides on a side of a ReLU
    data = batch()
    torch.save((distiller, data), tmp_path / 'given.pth')
    mp.spawn(on_a_rank, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f'rank{rank}.pth') for rank in (0, 1))
    assert all(map(torch.equal, first, second))
    before, wrapper = values(distiller), build(distiller.parameters())
    for _ in range(3):
        distiller.train_step(copy.deepcopy(data), wrapper)
    assert_close(first, values(distiller), rtol=1e-4)
    assert all((a != b).any() for a, b in zip(before, first))
