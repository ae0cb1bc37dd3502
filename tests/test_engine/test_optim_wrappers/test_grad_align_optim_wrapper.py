from __future__ import annotations

import copy
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mmengine.optim.optimizer.amp_optimizer_wrapper as amp_module
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper, OptimWrapperDict, build_optim_wrapper
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from torch import Tensor

from mmkd_logit.engine import GradAlignAmpOptimWrapper
from mmkd_logit.functional import align_gradients, gradient_cosine
from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import MODELS

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')
LR = 0.125
ALIGN = 'mmkd_logit.GradAlignOptimWrapper'
CONV = 'student.backbone.conv1.weight'
FC = 'student.head.fc.weight'


@pytest.fixture
def make(
    classifier: Callable[..., dict], batch: Callable[..., dict]
) -> Callable[..., LogitDistiller]:
    """A distiller whose two losses are in conflict on a batch."""

    def make(data: dict | None = None, aux: bool = True) -> LogitDistiller:
        loss = dict(type='BinaryKLNormLoss', head='aux') if aux else dict(type='KDLoss')
        model = MODELS.build(
            dict(
                type='mmkd_logit.LogitDistiller',
                student=classifier(),
                teacher=dict(model=classifier(), checkpoint=None),
                aux_head=dict(type='LinearLogitHead') if aux else None,
                losses=dict(distill=dict(loss_weight=5.0, **loss)),
            )
        )
        model.init_weights()
        for head in filter(None, (model.student.head, model.aux_head)):
            torch.nn.init.normal_(head.fc.weight, std=0.3)
        model.eval()  # batch norm does not mix the images
        if data is not None and gradient_cosine(*two_gradients(model, data)) > 0:
            model.losses['distill'].loss_weight = -5.0
        return model

    return make


def build(model: torch.nn.Module, type: str = ALIGN, **settings: Any) -> OptimWrapper:
    optimizer = {'type': 'SGD', 'lr': LR, **settings.pop('optimizer', {})}
    return build_optim_wrapper(model, dict(type=type, optimizer=optimizer, **settings))


def step(model: LogitDistiller, wrapper: OptimWrapper, data: dict) -> dict:
    return model.train_step(copy.deepcopy(data), wrapper)


def two_gradients(model: LogitDistiller, data: dict) -> tuple[list, list]:
    """Of the task and of the distillation loss."""
    inputs = model.data_preprocessor(copy.deepcopy(data), True)
    losses = model(**inputs, mode='loss')
    params = list(model.parameters())
    task, distill = (
        torch.autograd.grad(losses[name], params, retain_graph=True, allow_unused=True)
        for name in ('loss_task', 'loss_distill')
    )
    return list(task), list(distill)


def updates(
    model: LogitDistiller, wrapper: OptimWrapper, *batches: dict
) -> list[Tensor]:
    """The gradients that SGD saw, from what training adds to the parameters."""
    before = [param.detach().clone() for param in model.parameters()]
    for data in batches:
        step(model, wrapper, data)
    return [(a - b.detach()) / LR for a, b in zip(before, model.parameters())]


def assert_close(got: list, expected: list, atol: float = 1e-5) -> None:
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=atol)


def halves(data: dict) -> list[dict]:
    return [{key: data[key][i : i + 2] for key in data} for i in (0, 2)]


def drop_labels(data: dict) -> dict:
    data = copy.deepcopy(data)
    for sample in data['data_samples']:
        del sample.gt_label
    return data


def test_a_batch_without_labels_is_accumulated(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    """What it adds is distillation, and is aligned with the task of another batch."""
    data = batch()
    model = make(data)
    labelled, unlabelled = halves(data)
    task, first = two_gradients(model, labelled)
    _, second = two_gradients(model, unlabelled)
    distill = [a if a is None else (a + b) / 2 for a, b in zip(first, second)]
    assert gradient_cosine(task, distill) < 0
    wrapper = build(model, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 2)
    got = updates(model, wrapper, labelled, drop_labels(unlabelled))
    task = [a if a is None else a / 2 for a in task]
    assert_close(got, align_gradients(task, distill))


@pytest.mark.parametrize('aux', [True, False])
def test_step(aux: bool, make: Callable[..., Any], batch: Callable[..., dict]) -> None:
    data = batch()
    model = make(data, aux)
    task, distill = two_gradients(model, data)
    absent = [(a is None, b is None) for a, b in zip(task, distill)]
    assert absent.count((True, False)) == absent.count((False, True)) == 2 * aux
    expected = align_gradients(task, distill)
    conv = [name for name, _ in model.named_parameters()].index(CONV)
    assert (expected[conv] - task[conv] - distill[conv]).abs().max() > 1e-2
    assert_close(updates(model, build(model), data), expected)


def test_scope_shared(make: Callable[..., Any], batch: Callable[..., dict]) -> None:
    data = batch()
    model = make(data)
    task, distill = two_gradients(model, data)
    names = [name for name, _ in model.named_parameters()]
    got = dict(zip(names, updates(model, build(model, scope='shared'), data)))
    shared = [i for i, name in enumerate(names) if 'backbone' in name]
    assert len(shared) == len(names) - 4
    aligned = align_gradients([task[i] for i in shared], [distill[i] for i in shared])
    assert_close([got[names[i]] for i in shared], aligned)
    for i in set(range(len(names))) - set(shared):
        assert_close([got[names[i]]], [distill[i] if task[i] is None else task[i]])


def test_gradients_are_accumulated_apart(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data = batch()
    model = make(data)
    expected = align_gradients(*two_gradients(model, data))
    wrapper = build(model, accumulative_counts=2)
    first, second = halves(data)
    assert not any(grad.any() for grad in updates(model, wrapper, first))
    assert_close(updates(model, wrapper, second), expected)


def test_weights_that_become_0_while_gradients_are_accumulated(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    first, second = halves(batch())
    model = make(first)
    task, distill = two_gradients(model, first)
    later, _ = two_gradients(model, second)
    task = [None if a is None else a + b for a, b in zip(task, later)]
    wrapper = build(model, accumulative_counts=2)
    step(model, wrapper, first)
    model.losses['distill'].schedule = 0.0
    expected = [grad / 2 for grad in align_gradients(task, distill)]
    assert_close(updates(model, wrapper, second), expected)


def test_clipping_acts_on_the_merged_gradient(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data = batch()
    model = make(data)
    merged = align_gradients(*two_gradients(model, data))
    norm = torch.cat([grad.flatten() for grad in merged]).norm()
    wrapper = build(model, clip_grad=dict(max_norm=0.1))
    expected = [grad * 0.1 / norm for grad in merged]
    assert_close(updates(model, wrapper, data), expected)
    logged = wrapper.message_hub.get_scalar('train/grad_norm').current()
    assert logged == pytest.approx(norm.item(), rel=1e-4)


@pytest.mark.parametrize('silent', ['distillation', 'task'])
def test_goes_on_as_plain_training(
    silent: str, make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data, model = batch(), make(aux=False)
    model.train()
    if silent == 'task':
        model.task_loss_weight = 0.0
    else:
        model.losses['distill'].schedule = 0.0
    # A parameter that nothing reaches, and one that is frozen.
    model.student.register_parameter('idle', torch.nn.Parameter(torch.ones(2)))
    model.student.backbone.conv1.requires_grad_(False)
    start = copy.deepcopy(model.state_dict())
    passes: list[int] = []
    model.student.backbone.layer3.register_full_backward_hook(
        lambda *_: passes.append(1)
    )
    ends = []
    for kind in (ALIGN, 'OptimWrapper'):
        model.load_state_dict(start)
        settings = dict(momentum=0.9, weight_decay=0.1)
        wrapper = build(model, kind, optimizer=settings)
        for _ in range(3):
            step(model, wrapper, data)
        ends.append(copy.deepcopy(model.state_dict()))
    assert len(passes) == 6
    assert not torch.equal(ends[0][FC], start[FC])
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name


def test_without_conflict_it_is_plain_training(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data = batch()
    model = make(data)
    model.losses['distill'].loss_weight *= -1
    # A parameter that nothing reaches, and one that is frozen.
    model.student.register_parameter('idle', torch.nn.Parameter(torch.ones(2)))
    model.student.backbone.conv1.requires_grad_(False)
    start = copy.deepcopy(model.state_dict())
    ends = []
    for kind in (ALIGN, 'OptimWrapper'):
        model.load_state_dict(start)
        wrapper = build(model, kind, optimizer=dict(weight_decay=0.1))
        step(model, wrapper, data)
        ends.append([param.detach().clone() for param in model.parameters()])
    assert_close(*ends, atol=1e-6)
    assert torch.equal(model.student.idle, torch.ones(2))


def test_nothing_of_the_step_stays(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    model, kept = make(), []
    model.register_forward_hook(
        lambda model, args, losses: kept.append(weakref.ref(losses['loss_task']))
    )
    wrapper = build(model)
    for _ in range(2):
        step(model, wrapper, batch())
    assert [loss() for loss in kept] == [None, None]
    assert wrapper._losses is None and wrapper._distill is None
    assert len(model._forward_hooks) == 1
    assert all(param.grad is None for param in model.parameters())


def test_checkpoint_is_that_of_a_plain_wrapper(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    model = make()
    wrapper = build(model, optimizer=dict(momentum=0.9))
    plain = build(model, 'OptimWrapper', optimizer=dict(momentum=0.9))
    step(model, wrapper, batch())
    plain.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    buffers = [
        state['momentum_buffer'] for state in plain.state_dict()['state'].values()
    ]
    assert len(buffers) == len(list(model.parameters()))


@pytest.fixture
def amp(monkeypatch: pytest.MonkeyPatch) -> Callable[..., GradAlignAmpOptimWrapper]:
    """Mixed precision on the CPU, which mmengine refuses."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('this torch scales losses on GPUs only')
    monkeypatch.setattr(amp_module, 'is_cuda_available', lambda: True)
    scaler = partial(torch.amp.GradScaler, 'cpu')
    monkeypatch.setattr(amp_module, 'GradScaler', scaler)

    def make(model: LogitDistiller, **settings: Any) -> GradAlignAmpOptimWrapper:
        kind = 'mmkd_logit.GradAlignAmpOptimWrapper'
        return build(model, kind, dtype='bfloat16', **settings)

    return make


def test_mixed_precision(
    amp: Callable[..., Any], make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data = batch()
    model = make(data)
    with torch.autocast('cpu', torch.bfloat16):
        both = two_gradients(model, data)
    seen: list[torch.dtype] = []
    fc = model.student.head.fc
    fc.register_forward_hook(lambda fc, args, logits: seen.append(logits.dtype))
    got = updates(model, amp(model, loss_scale=1024.0), data)
    assert seen == [torch.bfloat16]
    assert gradient_cosine(*both) < -0.05
    assert_close(got, align_gradients(*both))


def test_clipping_sees_gradients_without_their_scale(
    amp: Callable[..., Any], make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data = batch()
    model = make(data)
    wrapper = amp(model, loss_scale=1024.0, clip_grad=dict(max_norm=0.1))
    norm = torch.cat([grad.flatten() for grad in updates(model, wrapper, data)]).norm()
    assert norm.item() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize('loss', ['loss_task', 'loss_distill'])
def test_overflow_of_either_loss_skips_the_step(
    loss: str,
    amp: Callable[..., Any],
    make: Callable[..., Any],
    batch: Callable[..., dict],
) -> None:
    data, model = batch(), make()

    def overflow(model: LogitDistiller, args: tuple, losses: dict) -> None:
        losses[loss] = losses[loss] * 1e38

    # Ahead of the wrapper's own.
    model.register_forward_hook(overflow)
    wrapper = amp(model, loss_scale=dict(init_scale=1024.0))
    assert not any(grad.any() for grad in updates(model, wrapper, data))
    assert wrapper.loss_scaler.get_scale() == 512.0


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_mixed_precision_on_a_gpu(
    make: Callable[..., Any], batch: Callable[..., dict]
) -> None:
    data = batch()
    model = make(data).cuda()
    merged = align_gradients(*two_gradients(model, data))
    wrapper = build(model, 'mmkd_logit.GradAlignAmpOptimWrapper', loss_scale=1024.0)
    assert gradient_cosine(updates(model, wrapper, data), merged) > 0.99


def test_bad_input(
    make: Callable[..., Any],
    classifier: Callable[..., dict],
    batch: Callable[..., dict],
) -> None:
    model = make()
    with pytest.raises(ValueError, match="'all' or 'shared', but got 'some'"):
        build(model, scope='some')
    with pytest.raises(TypeError, match="unexpected keyword argument 'scop'"):
        build(model, scop='all')
    plain = MODELS.build(classifier())
    with pytest.raises(TypeError, match='but the model is a ImageClassifier'):
        build(plain).initialize_count_status(plain, 0, 10)
    with pytest.raises(TypeError, match='but the model is a ImageClassifier'):
        plain.train_step(batch(), build(plain))
    both = OptimWrapperDict(student=build(model))
    with pytest.raises(RuntimeError, match='within optim_context, as train_step does'):
        both['student'].update_params(torch.zeros((), requires_grad=True))


def test_sharded_parameters_are_refused(make: Callable[..., Any]) -> None:
    @MODEL_WRAPPERS.register_module(force=True)
    class Sharded(torch.nn.Module):
        def __init__(self, module: torch.nn.Module) -> None:
            super().__init__()
            self.module = module

    model = make()
    with pytest.raises(TypeError, match='wrapped in Sharded'):
        build(model).initialize_count_status(Sharded(model), 0, 10)


def on_a_rank(rank: int, cwd: Path) -> None:
    """Train with each wrapper in two processes; buffers come from rank 0."""
    torch.set_num_threads(1)
    init_default_scope('mmpretrain')
    dist.init_process_group('gloo', f'file://{cwd}/store', rank=rank, world_size=2)
    model: LogitDistiller
    model, data = torch.load(cwd / 'given.pth', weights_only=False)
    results = []
    for kind, lr, steps in ((ALIGN, LR, 1), (ALIGN, 0.0, 3), ('OptimWrapper', 0.0, 3)):
        copied = copy.deepcopy(model).train(lr == 0)
        ddp = MMDistributedDataParallel(copied, broadcast_buffers=True)
        wrapper = build(ddp, kind, optimizer=dict(lr=lr))
        got = updates(ddp, wrapper, *[data[rank]] * steps)
        results.append((got, copied.state_dict()))
    # Only the images of the first process have labels.
    ddp = MMDistributedDataParallel(copy.deepcopy(model).eval())
    given = drop_labels(data[rank]) if rank == 1 else data[rank]
    results.append((updates(ddp, build(ddp), given), {}))
    torch.save(results, cwd / f'rank{rank}.pth')
    dist.destroy_process_group()


def test_two_processes(
    make: Callable[..., Any], batch: Callable[..., dict], tmp_path: Path
) -> None:
    data = batch()
    model = make(data)
    task, distill = two_gradients(model, data)
    whole = align_gradients(task, distill)
    torch.save((model, halves(data)), tmp_path / 'given.pth')
    mp.spawn(on_a_rank, (tmp_path,), nprocs=2)
    ranks = [torch.load(tmp_path / f'rank{i}.pth', weights_only=True) for i in (0, 1)]
    # The mean over the processes: the task has no gradient in the second.
    of_first, _ = two_gradients(model, halves(data)[0])
    mixed = align_gradients([g if g is None else g / 2 for g in of_first], distill)
    assert gradient_cosine(of_first, distill) < 0
    for (got, _), (_, buffers), (_, expected), (unlabelled, _) in ranks:
        assert_close(got, whole)
        assert_close(unlabelled, mixed)
        # As in plain training, each forward pass starts with the buffers of rank 0.
        for name, value in expected.items():
            assert torch.equal(buffers[name], value), name
    assert all(map(torch.equal, ranks[0][0][0], ranks[1][0][0]))
