"""The modules belong to any training loop, and do there what the distiller does."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.optim import build_optim_wrapper
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from mmkd_logit import modules
from mmkd_logit.functional import align_gradients
from mmkd_logit.models import LogitDistiller
from mmkd_logit.modules import (
    BinaryKLNormLoss,
    LinearLogitHead,
    LogitRows,
    LogitTap,
    align_backward,
)
from mmkd_logit.registry import MODELS

STACK = ('mmengine', 'mmcv', 'mmpretrain', 'mmseg')
# Each loss and each head takes a step; what needs a stack says so.
ALONE = f"""
import inspect, sys
sys.modules.update(dict.fromkeys({STACK}))
import torch
from mmkd_logit import modules
logits = torch.randn(6, 4, requires_grad=True)
rows = modules.LogitRows(
    logits,
    torch.randn(6, 4),
    labels=torch.arange(6) % 4,
    image_index=torch.arange(6),
    batch_index=torch.zeros(6, dtype=torch.long),
)
for name in modules.__all__:
    kind = getattr(modules, name)
    if not isinstance(kind, type) or inspect.isabstract(kind):
        continue
    if issubclass(kind, modules.LogitLoss):
        needs = {{'num_classes': 4}} if name == 'MCLDLoss' else {{}}
        loss = kind(transforms=['standardize'], **needs)
        assert torch.autograd.grad(loss(rows), logits)[0].abs().sum() > 0, name
        print(name)
    elif issubclass(kind, modules.LogitHead):
        maps = torch.randn(2, 4, 1, 1) if name == 'ConvLogitHead' else logits
        assert kind(4, 3)(maps).shape[1] == 3
        print(name)
try:
    modules.KDLoss(transforms=['standardise'])
except KeyError as error:
    assert 'must be one of scale_by_std, standardize' in str(error)
    print('refused')
"""


def outputs(code: str) -> list[str]:
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    return result.stdout.split()


def test_they_need_torch_alone() -> None:
    parts = outputs(ALONE)
    assert parts[-1] == 'refused'
    registered = {
        name
        for name, kind in MODELS.module_dict.items()
        if kind.__module__.startswith('mmkd_logit.modules')
    }
    assert set(parts[:-1]) == registered >= {'MCLDLoss', 'CTKDLoss', 'MLPLogitHead'}


def test_they_load_no_stack_that_is_there() -> None:
    code = (
        'import sys, mmkd_logit.modules\n'
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    assert set(STACK) & set(outputs(code)) == set()


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize('scope', [None, 'all', 'shared'])
def test_a_plain_loop_of_dhkd_is_that_of_the_distiller(
    scope: str | None, classifier: Callable[..., dict], batch: Callable[..., dict]
) -> None:
    model = MODELS.build(
        dict(
            type='mmkd_logit.LogitDistiller',
            student=classifier(),
            teacher=dict(model=classifier(), checkpoint=None),
            aux_head=dict(type='LinearLogitHead'),
            losses=dict(
                dhkd=dict(type='BinaryKLNormLoss', tau=2.0, loss_weight=5.0, head='aux')
            ),
        )
    )
    assert isinstance(model, LogitDistiller)
    model.init_weights()
    student, aux_head = copy.deepcopy(model.student), LinearLogitHead(64, 5)
    aux_head.load_state_dict(model.aux_head.state_dict())
    parts = torch.nn.ModuleList([student, aux_head])
    align = {} if scope is None else {'scope': scope}
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='mmkd_logit.GradAlignOptimWrapper' if align else 'OptimWrapper',
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=1e-3),
            **align,
        ),
    )
    optimizer = torch.optim.SGD(
        parts.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3
    )
    loss = BinaryKLNormLoss(tau=2.0, loss_weight=5.0, head='aux')
    for _ in range(4):
        data = batch()
        model.train_step(copy.deepcopy(data), wrapper)

        images, labels = data['inputs'], torch.arange(4)
        with torch.no_grad():
            target = model.teacher(images)
        with LogitTap(student.head.fc, 'head.fc') as tap:
            logits = student(images, mode='tensor')
        task = F.cross_entropy(logits, labels)
        distill = loss(LogitRows(logits, target, aux=aux_head(tap.feature)))
        optimizer.zero_grad()
        if align:
            align_backward(task, distill, parts.parameters(), **align)
        else:
            (task + distill).backward()
        optimizer.step()
    theirs = [*model.student.parameters(), *model.aux_head.parameters()]
    for ours, other in zip(parts.parameters(), theirs, strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-6, atol=1e-7)


def toy() -> tuple[torch.nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh())
    return model, torch.randn(8, 4)


def two_losses(output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two that are in conflict."""
    return output[:, :4].pow(2).mean(), -3 * output[:, :5].pow(2).mean()


def on_a_rank(rank: int, folder: Path) -> None:
    """One of two processes, on half the rows, for two steps."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=2)
    plain, rows = toy()
    model = DistributedDataParallel(plain)
    for _ in range(2):
        with model.no_sync():
            losses = two_losses(model(rows[4 * rank : 4 * rank + 4]))
        align_backward(*losses, model.parameters())
    torch.save([param.grad for param in model.parameters()], folder / f'{rank}.pth')
    dist.destroy_process_group()


def test_two_processes_align_the_gradients_of_the_whole_batch(tmp_path: Path) -> None:
    mp.spawn(on_a_rank, (tmp_path,), nprocs=2)
    model, rows = toy()
    params = list(model.parameters())
    task, distill = (
        torch.autograd.grad(loss, params, retain_graph=True)
        for loss in two_losses(model(rows))
    )
    expected = align_gradients(task, distill)
    assert not torch.allclose(expected[0], task[0] + distill[0])
    for rank in (0, 1):
        got = torch.load(tmp_path / f'{rank}.pth', weights_only=True)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b)


def test_a_frozen_parameter_and_a_loss_that_does_not_reach() -> None:
    model, rows = toy()
    aux = torch.nn.Linear(6, 2)
    frozen = model[0].bias.requires_grad_(False)
    output = model(rows)
    parameters = [*model.parameters(), *aux.parameters()]
    align_backward(output.sum(), aux(output).sum(), parameters)
    assert frozen.grad is None
    assert aux.weight.grad is not None and model[0].weight.grad is not None
    with pytest.raises(ValueError, match="scope must be 'all' or 'shared'"):
        align_backward(model(rows).sum(), model(rows).mean(), parameters, 'some')


def test_modules_export_what_they_say() -> None:
    assert all(hasattr(modules, name) for name in modules.__all__)
    assert sorted(modules.__all__) == modules.__all__
