from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable
from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from mmpretrain.engine.hooks import SwitchRecipeHook
from torch import Tensor

from mmkd_logit.functional import binary_kl_norm_loss, kd_loss, kendall_tau
from mmkd_logit.models import LogitDistiller, LogitLoss
from mmkd_logit.registry import MODELS
from mmkd_logit.structures import LogitRows

MakeConfig = Callable[..., dict]
DHKD = dict(
    aux_head=dict(type='LinearLogitHead'),
    losses=dict(
        dhkd=dict(type='BinaryKLNormLoss', tau=2.0, loss_weight=0.1, head='aux')
    ),
)
KD = dict(losses=dict(kd=dict(type='KDLoss', tau=3.0, loss_weight=0.7)))

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


@MODELS.register_module()
class NeedsLabelsLoss(LogitLoss):
    """Cross entropy on the labels: what a loss with hard labels looks like."""

    needs_labels = True

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        if len(student) == 0:
            return student.sum()
        return torch.nn.functional.cross_entropy(student.float(), rows.labels)


@pytest.fixture
def distiller(classifier: MakeConfig) -> Callable[..., LogitDistiller]:
    def make(init: bool = True, **settings: Any) -> LogitDistiller:
        model = MODELS.build(
            {
                'type': 'mmkd_logit.LogitDistiller',
                'student': classifier(),
                'teacher': dict(model=classifier(), checkpoint=None),
                **settings,
            }
        )
        if init:
            model.init_weights()
        return model

    return make


def step(model: torch.nn.Module, data: dict) -> dict[str, Tensor]:
    """Losses of one step, as the Runner makes it, and the backward pass."""
    data = model.data_preprocessor(copy.deepcopy(data), True)
    losses = model(**data, mode='loss')
    model.zero_grad()
    model.parse_losses(losses)[0].backward()
    return losses


def test_dhkd_step(distiller: Callable, batch: Callable) -> None:
    model, data = distiller(**DHKD), batch()
    losses = step(model, data)
    assert set(losses) == {'loss_task', 'loss_dhkd', 'teacher_agreement'}

    # The same numbers by hand; batch norm uses the batch, so train mode is enough.
    student, inputs = model.student, data['inputs']
    feature = student.neck(student.backbone(inputs))[-1]
    labels = torch.tensor([0, 1, 2, 3])
    logits, teacher = student.head.fc(feature), model.teacher(inputs)
    ce = torch.nn.functional.cross_entropy(logits, labels)
    dhkd = 0.1 * binary_kl_norm_loss(model.aux_head(feature), teacher, 2.0)
    torch.testing.assert_close(losses['loss_task'], ce)
    torch.testing.assert_close(losses['loss_dhkd'], dhkd)
    same = (logits.argmax(1) == teacher.argmax(1)).float().mean()
    torch.testing.assert_close(losses['teacher_agreement'], same)

    # Each loss reaches its own classifier only; both reach the backbone.
    head, aux = student.head.fc.weight, model.aux_head.fc.weight
    torch.testing.assert_close(head.grad, torch.autograd.grad(ce, head)[0])
    (aux_grad,) = torch.autograd.grad(dhkd, aux, retain_graph=True)
    torch.testing.assert_close(aux.grad, aux_grad)
    assert student.backbone.conv1.weight.grad.abs().sum() > 0


def test_a_loss_can_warn_once_training_begins(
    distiller: Callable, batch: Callable, warned: list[str]
) -> None:
    model = distiller(losses=dict(ctkd=dict(type='CTKDLoss')))
    assert not [text for text in warned if 'curriculum' in text]
    for _ in range(2):
        step(model, batch())
    assert len([text for text in warned if 'has no curriculum' in text]) == 1


def test_kendall_tau_is_logged_where_it_is_asked_for(
    distiller: Callable, batch: Callable
) -> None:
    model, data = distiller(kendall_tau_rows=3, **KD), batch(size=8)
    losses = step(model, data)
    taus = kendall_tau(model.student(data['inputs']), model.teacher(data['inputs']))
    assert not losses['kendall_tau'].requires_grad
    means = [(a + b + c) / 3 for a, b, c in product(taus.tolist(), repeat=3)]
    assert min(abs(mean - losses['kendall_tau'].item()) for mean in means) < 1e-6
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_task'] + losses['loss_kd'])
    assert log['kendall_tau'] == losses['kendall_tau']


def test_kendall_tau_of_logits_that_are_not_finite(
    distiller: Callable, batch: Callable
) -> None:
    model, data = distiller(kendall_tau_rows=3, **KD), batch()
    model.student.head.fc.bias.data[0] = float('inf')
    assert step(model, data)['kendall_tau'].isnan()
    model.teacher.module.head.fc.bias.data[0] = float('nan')
    with pytest.raises(RuntimeError, match='gave logits that are not finite'):
        step(model, data)


def test_kendall_tau_of_fewer_rows_than_asked_for(
    distiller: Callable, batch: Callable
) -> None:
    model, data = distiller(kendall_tau_rows=100, **KD), batch()
    losses = step(model, data)
    taus = kendall_tau(model.student(data['inputs']), model.teacher(data['inputs']))
    torch.testing.assert_close(losses['kendall_tau'], taus.mean())
    with pytest.raises(ValueError, match='kendall_tau_rows must be 0 or more'):
        distiller(kendall_tau_rows=-1, **KD)


def test_single_head_and_weighted_task(distiller: Callable, batch: Callable) -> None:
    model, data = distiller(task_loss_weight=0.1, **KD), batch()
    losses = step(model, data)
    inputs = data['inputs']
    logits = model.student(inputs)
    ce = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3]))
    torch.testing.assert_close(losses['loss_task'], 0.1 * ce)
    expected = 0.7 * kd_loss(logits, model.teacher(inputs), 3.0)
    torch.testing.assert_close(losses['loss_kd'], expected)


def test_task_loss_weight_zero_is_logged_but_not_added(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    student = classifier(cal_acc=True)
    model = distiller(student=student, task_loss_weight=0.0, **KD)
    losses = step(model, batch())
    assert losses['task'] > 0 and not losses['task'].requires_grad
    assert 'accuracy_top-1' in losses
    total, log = model.parse_losses(losses)
    torch.testing.assert_close(total, losses['loss_kd'])
    assert log['loss'] == total
    assert all(p.grad is not None for p in model.parameters())


def test_teacher_rests_while_no_loss_asks_for_it(
    distiller: Callable, batch: Callable
) -> None:
    model = distiller(**DHKD)
    model.losses['dhkd'].schedule = 0.0
    calls: list[int] = []
    model.teacher.module.register_forward_hook(lambda *_: calls.append(1))
    losses = step(model, batch())
    assert not calls
    assert losses['loss_dhkd'] == 0
    assert model.parse_losses(losses)[0] == losses['loss_task']
    # DDP waits for every parameter.
    assert (model.aux_head.fc.weight.grad == 0).all()
    assert all(p.grad is not None for p in model.parameters())


def test_split_losses(distiller: Callable, batch: Callable) -> None:
    model = distiller(**DHKD | dict(losses=DHKD['losses'] | KD['losses']))
    losses = step(model, batch())
    task, distill = model.split_losses(losses)
    assert task == losses['loss_task']
    assert distill == losses['loss_dhkd'] + losses['loss_kd']
    torch.testing.assert_close(task + distill, model.parse_losses(losses)[0])

    for loss in model.losses.values():
        loss.schedule = 0.0
    losses = step(model, batch())
    assert model.split_losses(losses) == (losses['loss_task'], None)
    assert not model.distils

    model = distiller(task_loss_weight=0.0, **KD)
    losses = step(model, batch())
    assert model.split_losses(losses) == (None, losses['loss_kd'])


def test_one_of_two_losses_off(distiller: Callable, batch: Callable) -> None:
    losses = {**KD['losses'], **DHKD['losses']}
    model = distiller(aux_head=DHKD['aux_head'], losses=losses)
    model.losses['dhkd'].schedule = 0.0
    values = step(model, batch())
    assert values['loss_dhkd'] == 0 and values['loss_kd'] > 0
    assert (model.aux_head.fc.weight.grad == 0).all()


def test_label_smoothing_and_mixup_of_the_student_are_untouched(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    loss = dict(
        type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=5, mode='original'
    )
    student = classifier(loss=loss)
    student['train_cfg'] = dict(augments=dict(type='Mixup', alpha=1.0))
    model = distiller(student=student, **DHKD)
    plain = MODELS.build(student)
    plain.load_state_dict(model.student.state_dict())
    data = model.data_preprocessor(batch(), True)
    losses = model(**data, mode='loss')
    expected = plain(**data, mode='loss')
    torch.testing.assert_close(losses['loss_task'], expected['loss'])
    mixed = data['data_samples'][0].gt_score
    assert 0 < mixed.max() < 1
    expected = 0.1 * binary_kl_norm_loss(
        model.aux_head(model.student.extract_feat(data['inputs'])[-1]),
        model.teacher(data['inputs']),
    )
    torch.testing.assert_close(losses['loss_dhkd'], expected)


def test_predicts_as_the_student_and_needs_no_teacher(
    distiller: Callable, batch: Callable
) -> None:
    teacher = dict(config='/nowhere/teacher.py', checkpoint='/nowhere/teacher.pth')
    model = distiller(init=False, teacher=teacher, **DHKD).eval()
    with torch.no_grad():
        predictions = model.val_step(batch())
        logits = model.student(batch()['inputs'])
    assert predictions[0].pred_score.shape == (5,)
    assert logits.shape == (4, 5)
    with pytest.raises(FileNotFoundError):
        model.init_weights()


def test_teacher_is_in_no_state_and_follows_the_distiller(
    distiller: Callable, device: str
) -> None:
    model = distiller(**DHKD)
    prefixes = {key.split('.')[0] for key in model.state_dict()}
    assert prefixes == {'student', 'aux_head'}
    owned = {id(p) for p in model.parameters()}
    teacher = model.teacher.module
    assert not owned & {id(p) for p in teacher.parameters()}
    copied = copy.deepcopy(model)
    assert copied.teacher is model.teacher
    copied.double()
    assert teacher.head.fc.weight.dtype == torch.float32
    model.train()
    assert not teacher.training
    model.to(device).double()
    weight = teacher.head.fc.weight
    assert weight.dtype == torch.float64 and weight.device.type == device


def test_same_seed_same_student_with_and_without_distillation(
    distiller: Callable, classifier: MakeConfig
) -> None:
    torch.manual_seed(3)
    plain = MODELS.build(classifier())
    plain.init_weights()
    torch.manual_seed(3)
    model = distiller(
        aux_head=dict(type='MLPLogitHead'), losses=copy.deepcopy(DHKD['losses'])
    )
    state = model.student.state_dict()
    for key, value in plain.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_loads_its_own_and_the_plain_student_s_weights(
    distiller: Callable, classifier: MakeConfig
) -> None:
    model, other = distiller(**DHKD), distiller(**DHKD)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.aux_head.fc.weight, model.aux_head.fc.weight)
    plain = MODELS.build(classifier())
    aux = other.aux_head.fc.weight.clone()
    other.load_state_dict(plain.state_dict())
    for key, value in plain.state_dict().items():
        assert torch.equal(other.student.state_dict()[key], value), key
    assert torch.equal(other.aux_head.fc.weight, aux)
    state = plain.state_dict()
    del state['head.fc.bias']
    result = other.load_state_dict(state, strict=False)
    assert result.missing_keys == ['student.head.fc.bias']


def test_a_training_step_moves_student_and_head(
    distiller: Callable, batch: Callable
) -> None:
    model = distiller(**DHKD)
    before = copy.deepcopy(model.state_dict())
    teacher = copy.deepcopy(model.teacher.module.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    log = model.train_step(batch(), OptimWrapper(optimizer))
    after = model.state_dict()
    for key in ('student.head.fc.weight', 'aux_head.fc.weight'):
        assert not torch.equal(before[key], after[key])
    parts = log['loss_task'] + log['loss_dhkd']
    torch.testing.assert_close(torch.as_tensor(log['loss']), torch.as_tensor(parts))
    for key, value in model.teacher.module.state_dict().items():
        assert torch.equal(value, teacher[key]), key


def test_layer_wise_learning_rates(distiller: Callable, classifier: MakeConfig) -> None:
    vit = dict(
        type='mmpretrain.VisionTransformer',
        arch=dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8),
        img_size=8,
        patch_size=4,
    )
    student = classifier(type='VisionTransformerClsHead', in_channels=8)
    student.update(backbone=vit, neck=None)
    model = distiller(student=student, **DHKD)
    assert model.logit_layer == 'head.layers.head'
    plain = model.student.get_layer_depth
    name = 'backbone.layers.1.attn.qkv.weight'
    assert model.get_layer_depth(f'student.{name}') == plain(name)
    assert model.get_layer_depth('aux_head.fc.weight') == plain('head.layers.head')


def test_nan_of_the_teacher_is_named(distiller: Callable, batch: Callable) -> None:
    model = distiller(**KD)
    model.teacher.module.head.fc.bias.data[2] = float('nan')
    with pytest.raises(RuntimeError, match='teacher ImageClassifier gave logits that'):
        step(model, batch())


def test_huge_but_finite_logits_are_no_nan(
    distiller: Callable, batch: Callable
) -> None:
    model = distiller(**KD)
    model.teacher.module.head.fc.bias.data.fill_(3e38)
    assert step(model, batch())['loss_kd'].isfinite()


def test_other_number_of_classes(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    teacher = dict(model=classifier(num_classes=7), checkpoint=None)
    with pytest.raises(ValueError, match='7 classes, but the student has 5'):
        distiller(teacher=teacher, **KD)
    # A head in which no last layer is found: the first step tells.
    twice = classifier(7, type='StackedLinearClsHead', mid_channels=[7])
    model = distiller(teacher=dict(model=twice, checkpoint=None), **KD)
    with pytest.raises(ValueError, match='7 classes, but the student has 5'):
        step(model, batch())


def test_parts_that_do_not_fit(distiller: Callable, classifier: MakeConfig) -> None:
    def refuse(match: str, error: type = ValueError, **settings: Any) -> None:
        with pytest.raises(error, match=match):
            distiller(init=False, **settings)

    refuse("'dhkd'.* have head='aux', but there is no aux_head", losses=DHKD['losses'])
    refuse('none of the losses', aux_head=DHKD['aux_head'], losses=KD['losses'])
    refuse('at least one loss', losses={})
    refuse("may not be named 'task'", losses=dict(task=dict(type='KDLoss')))
    refuse('must be a dict with a type', losses=dict(kd=dict(tau=1.0)))
    refuse('task_loss_weight must be a fin', task_loss_weight=float('nan'), **KD)
    refuse('task_loss_weight must not be neg', task_loss_weight=-0.1, **KD)
    refuse('would learn nothing', task_loss_weight=0.0, **DHKD)
    refuse('losses must name at least one loss', losses=[dict(type='KDLoss')])
    for name in ('items', 'keys', 'train', 'a.b', ''):
        refuse(f'may not be named {name!r}', losses={name: dict(type='KDLoss')})
    bad = dict(kd=dict(type='KDLoss', temperature=4.0))
    refuse("losses.kd has the unknown key 'temperature'.*tau", TypeError, losses=bad)
    for weight in (float('inf'), 'abc'):
        bad = dict(kd=dict(type='KDLoss', loss_weight=weight))
        said = 'losses.kd.loss_weight must be a finite number'
        refuse(said, TypeError, losses=bad)
    nested = dict(type='mmkd_logit.LogitDistiller', student=classifier())
    refuse('config of a LogitDistiller itself.*_base_.method', student=nested, **KD)
    refuse("the key 'at'.*Write resolution", TypeError, at='label', **KD)
    refuse("unknown key 'losss'.*mean 'losses'", TypeError, losss={}, **KD)
    refuse("must be 'student' for a ImageClassifier", resolution='label', **KD)
    maps = DHKD | dict(aux_head=dict(type='ConvLogitHead'))
    refuse('takes maps, but .* gets vectors. Use LinearLogitHead', **maps)
    bad_teacher = dict(model=classifier(), checkpoint=None, ckpt='x')
    refuse("teacher has the unknown key 'ckpt'", TypeError, teacher=bad_teacher, **KD)
    refuse('is not a layer', logit_layer='head.cls', **KD)


def test_losses_of_pixels_are_refused(distiller: Callable) -> None:
    losses = dict(kd=dict(type='KDLoss'), cwd=dict(type='CWDLoss'))
    with pytest.raises(ValueError, match=r"\['cwd'\] compare the pixels.*ImageClassif"):
        distiller(init=False, losses=losses)


def test_mixup_with_a_loss_that_needs_labels(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    losses = dict(ce=dict(type='NeedsLabelsLoss'))
    student = classifier()
    values = step(distiller(student=student, losses=losses), batch())
    torch.testing.assert_close(values['loss_ce'], values['loss_task'])
    student['train_cfg'] = dict(augments=dict(type='CutMix', alpha=1.0))
    with pytest.raises(ValueError, match=r"\['ce'\] need one label.*mixup or CutMix"):
        distiller(student=student, losses=losses)
    kd = dict(type='KDLoss')
    needy = {
        kind.lower(): dict(type=kind)
        for kind in ('DKDLoss', 'NKDLoss', 'RLDLoss', 'WSLDLoss')
    }
    needy['swapped'] = dict(type='KDLoss', transforms=['swap_errors'])
    with pytest.raises(ValueError, match=re.escape(str(list(needy)))):
        distiller(student=student, losses=dict(kd=kd, **needy))


MCLD = dict(task_loss_weight=0.0, losses=dict(mcld=dict(type='MCLDLoss', queue_size=6)))


def test_mcld_step(distiller: Callable, batch: Callable) -> None:
    model, data = distiller(**MCLD), batch()
    values = step(model, data)
    assert values['loss_mcld'] > 0
    assert values['task'] > 0 and 'loss_task' not in values
    queue = model.losses['mcld'].queue
    assert queue.logits.shape == (4, 5)
    assert queue.image_index.tolist() == [100, 101, 102, 103]
    assert all(p.grad.abs().sum() > 0 for p in model.student.head.parameters())


def test_mcld_with_mixup(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    student = classifier()
    student['train_cfg'] = dict(augments=dict(type='CutMix', alpha=1.0))
    with pytest.raises(ValueError, match=r'mixup or CutMix.*without category'):
        distiller(student=student, **MCLD)
    losses = dict(mcld=dict(type='MCLDLoss', queue_size=6, category=False))
    assert step(distiller(student=student, losses=losses), batch())['loss_mcld'] > 0


def test_the_queue_of_mcld_is_sized_by_the_data(
    distiller: Callable, batch: Callable
) -> None:
    hub = MessageHub.get_current_instance()
    settings = dict(losses=dict(mcld=dict(type='MCLDLoss')))
    for epochs, iterations, size in ((30, 30 * 21, 84), (1, 10**6, 65536)):
        hub.update_info('max_epochs', epochs)
        hub.update_info('max_iters', iterations)
        model = distiller(**settings)
        step(model, batch())
        queue = model.losses['mcld'].queue
        assert len(queue) == 4 and len(queue._logits) == size
    resumed = distiller(**settings)
    resumed.load_state_dict(model.state_dict())
    step(resumed, batch())
    assert len(resumed.losses['mcld'].queue) == 8


def test_switch_recipe_of_mmpretrain(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    """Its hook looks for the loss in the head of the model."""
    model, data = distiller(**DHKD), batch()
    smooth = dict(
        type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=5, mode='original'
    )
    hook = SwitchRecipeHook(
        [dict(action_epoch=2, loss=smooth, batch_augments=dict(augments='Mixup'))]
    )
    runner = SimpleNamespace(model=model, epoch=0, logger=logging.getLogger())
    before = step(model, data)
    hook.before_train_epoch(runner)
    torch.testing.assert_close(step(model, data), before)
    runner.epoch = 1
    hook.before_train_epoch(runner)
    assert type(model.student.head.loss_module).__name__ == 'LabelSmoothLoss'
    after = step(model, data)
    assert after['loss_task'] != before['loss_task']
    assert model._mixes_images()


def test_an_infinite_student_is_not_hidden(
    distiller: Callable, batch: Callable, warned: list[str]
) -> None:
    losses = dict(kd=dict(type='KDLoss'), tau=dict(type='KendallTauLoss'))
    model, data = distiller(losses=losses), batch()
    model.student.head.fc.bias.data[0] = float('inf')
    for _ in range(3):
        values = step(model, data)
        assert not values['loss_kd'].isfinite()
        assert values['loss_tau'].isnan()
    said = [each for each in warned if 'student are not finite' in each]
    assert len(said) == 1 and 'clip gradients' in said[0]


def test_exploding_logits_are_said_once(
    distiller: Callable, batch: Callable, warned: list[str]
) -> None:
    model, data = distiller(**KD), batch()
    for _ in range(25):
        step(model, data)
    assert not warned
    model.student.head.fc.bias.data[0] = 1e4
    for _ in range(25):  # long, but right: another scale than the teacher's
        step(model, batch(num_classes=1))
    assert not warned
    for _ in range(45):
        step(model, data)
    (said,) = warned
    assert 'times the teacher' in said and 'learning rate' in said
    assert 'guessing has 1.6' in said
    copied = copy.deepcopy(model)  # as EMA does, in the middle of training
    assert copied._monitor is not model._monitor


def test_unlabelled_images_do_not_stop_the_monitor(
    distiller: Callable, batch: Callable, warned: list[str]
) -> None:
    """A student's loss may ignore the label -1; mixup leaves no labels at all."""
    model = distiller(**KD)
    model.student.head.fc.bias.data[0] = 1e4
    data = batch()
    for sample in data['data_samples']:
        sample.set_gt_label(-1)
    model.student.loss = lambda inputs, samples: {
        'loss': model.student(inputs).sum() * 0
    }
    for _ in range(25):
        step(model, data)
    assert not warned


def test_losses_of_the_run_that_is_resumed_from(
    distiller: Callable, batch: Callable, warned: list[str]
) -> None:
    hub = MessageHub.get_instance(f'resumed_{id(batch)}')
    names = ('loss', 'loss_task', 'loss_kd', 'loss_mcld', 'lr', 'kendall_tau')
    for name in (*names, 'loss_scale'):
        hub.update_scalar(f'train/{name}', 1.0)
    hub.update_scalar('val/loss_of_mine', 1.0)
    model = distiller(**KD)
    step(model, batch())
    step(model, batch())
    (said,) = warned
    assert 'has logged loss_mcld, kendall_tau, which this config does not' in said
    assert 'set load_from instead of --resume' in said
    assert set(hub.log_scalars) == {
        *('train/loss', 'train/loss_task', 'train/loss_kd', 'train/lr'),
        'train/loss_scale',
        'val/loss_of_mine',
    }


def test_a_batch_of_one_image(distiller: Callable, batch: Callable) -> None:
    """The last batch of an epoch, with the nonlinear head."""
    model = distiller(**DHKD | dict(aux_head=dict(type='MLPLogitHead')))
    values = step(model, batch(size=1))
    assert values['loss_dhkd'] > 0
    assert all(p.grad is not None for p in model.parameters())


def test_config_dicts_are_left_as_they_are(
    distiller: Callable, classifier: MakeConfig
) -> None:
    student, settings = ConfigDict(classifier()), ConfigDict(copy.deepcopy(DHKD))
    before = copy.deepcopy((student, settings))
    distiller(init=False, student=student, **settings)
    assert (student, settings) == before


def test_half_precision(distiller: Callable, batch: Callable) -> None:
    model, data = distiller(**DHKD), batch()
    expected = step(model, data)['loss_dhkd']
    with torch.autocast('cpu', torch.bfloat16):
        losses = step(model, data)
    assert losses['loss_dhkd'].dtype == torch.float32
    torch.testing.assert_close(losses['loss_dhkd'], expected, rtol=0.1, atol=0)


def test_parts_of_another_kind_are_refused(distiller: Callable) -> None:
    with pytest.raises(ValueError, match='teacher must be a dict.*got None.*own'):
        distiller(teacher=None, **KD)
    with pytest.raises(TypeError, match='losses.kd is a MSELoss, but must be'):
        distiller(losses=dict(kd=dict(type=torch.nn.MSELoss)))


def drop_labels(data: dict, *places: int) -> dict:
    for place in places:
        del data['data_samples'][place].gt_label
    return data


def test_images_without_labels(distiller: Callable, batch: Callable) -> None:
    model, data = (
        distiller(task_loss_weight=0.0, **KD),
        drop_labels(batch(), 0, 1, 2, 3),
    )
    losses = step(model, data)
    assert set(losses) == {'loss_kd', 'teacher_agreement'}
    inputs = data['inputs']
    expected = 0.7 * kd_loss(model.student(inputs), model.teacher(inputs), 3.0)
    torch.testing.assert_close(losses['loss_kd'], expected)
    assert all(p.grad is not None for p in model.student.parameters())
    assert model.split_losses(losses)[0] is None
    # The teacher rests: nothing to learn, and no error.
    model.losses['kd'].schedule = 0.0
    assert step(model, data)['loss_kd'] == 0


@pytest.mark.parametrize('labelled', [[0], [3], [1, 2]])
def test_some_images_without_labels(
    labelled: list[int], distiller: Callable, batch: Callable
) -> None:
    model = distiller(**DHKD)
    data = drop_labels(batch(), *({0, 1, 2, 3} - set(labelled)))
    losses = step(model, data)
    inputs = data['inputs']
    feature = model.student.neck(model.student.backbone(inputs))[-1]
    logits, teacher = model.student.head.fc(feature), model.teacher(inputs)
    task = torch.nn.functional.cross_entropy(logits[labelled], torch.tensor(labelled))
    torch.testing.assert_close(losses['loss_task'], task)
    dhkd = 0.1 * binary_kl_norm_loss(model.aux_head(feature), teacher, 2.0)
    torch.testing.assert_close(losses['loss_dhkd'], dhkd)
    assert [s.get('gt_label') is not None for s in data['data_samples']] == [
        place in labelled for place in range(4)
    ]


def test_labels_that_are_put_aside_are_put_back(
    distiller: Callable, batch: Callable
) -> None:
    model = distiller(**KD)
    data = model.data_preprocessor(drop_labels(batch(), 1), True)
    labels = [sample.get('gt_label') for sample in data['data_samples']]
    assert labels[1] is None
    assert [int(labels[place]) for place in (0, 2, 3)] == [0, 2, 3]
    assert not any('put_aside' in sample for sample in data['data_samples'])


def test_missing_labels_that_are_needed(
    distiller: Callable, classifier: MakeConfig, batch: Callable
) -> None:
    needy = distiller(losses=dict(hard=dict(type='mmkd_logit.NeedsLabelsLoss')))
    with pytest.raises(ValueError, match=r"\['hard'\] need one label per image"):
        step(needy, drop_labels(batch(), 2))
    mixup = dict(augments=dict(type='Mixup', alpha=0.5))
    mixing = distiller(student=classifier() | dict(train_cfg=mixup), **KD)
    with pytest.raises(ValueError, match='blend labels, but some images in the batch'):
        step(mixing, drop_labels(batch(), 2))
    student = classifier(type='EfficientFormerClsHead', distillation=False)
    other = distiller(student=student, logit_layer='head.head', **KD)
    with pytest.raises(ValueError, match='2 of 4 images .* EfficientFormerClsHead can'):
        step(other, drop_labels(batch(), 0, 2))


def test_images_are_not_finite(distiller: Callable, batch: Callable) -> None:
    model, data = distiller(**KD), batch()
    data['inputs'][2, 0, 1, 1] = torch.nan
    with pytest.raises(RuntimeError, match=r'images \[2\] of the batch hold values'):
        step(model, data)


def test_an_auxiliary_head_that_rests_is_said_once(
    distiller: Callable, batch: Callable, warned: list[str]
) -> None:
    model = distiller(**DHKD)
    model.losses['dhkd'].loss_weight = 0.0
    for _ in range(2):
        step(model, batch())
    assert sum('weight decay shrinks it' in text for text in warned) == 1


@pytest.mark.parametrize('kind, mixes', [('BatchPad', False), ('ResizeMix', True)])
def test_batch_augments_that_resize_or_pad_are_not_mixup(
    kind: str, mixes: bool, distiller: Callable
) -> None:
    needy = dict(losses=dict(ce=dict(type='NeedsLabelsLoss')))
    model = distiller(**needy)
    augment = type(kind, (), {})()
    model.data_preprocessor.batch_augments = SimpleNamespace(augments=[augment])
    if not mixes:
        model._check_parts()
        return
    with pytest.raises(ValueError, match='with mixup or CutMix'):
        model._check_parts()
