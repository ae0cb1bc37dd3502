from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mmkd_logit.functional import kd_loss
from mmkd_logit.models import LogitDistiller, Teachers
from mmkd_logit.registry import MODELS

MakeConfig = Callable[..., dict]

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


@pytest.fixture
def distiller(classifier: MakeConfig) -> Callable[..., LogitDistiller]:
    """A distiller with two teachers, of which one wants other images."""

    def make(**settings: Any) -> LogitDistiller:
        other = classifier()
        other['data_preprocessor'].update(mean=[1.0, 2.0, 3.0], std=[2.0, 4.0, 8.0])
        model = MODELS.build(
            {
                'type': 'mmkd_logit.LogitDistiller',
                'student': classifier(),
                'teacher': [
                    dict(model=classifier(), checkpoint=None, weight=3.0),
                    dict(model=other, checkpoint=None, name='other'),
                ],
                'losses': dict(kd=dict(type='KDLoss', tau=3.0)),
                **settings,
            }
        )
        model.init_weights()
        for seed, teacher in enumerate(model.teacher.members.values()):
            torch.manual_seed(seed)
            torch.nn.init.normal_(teacher.module.head.fc.weight)
        return model

    return make


def step(model: LogitDistiller, data: dict) -> dict[str, Tensor]:
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    return losses


@pytest.mark.parametrize('average', ['logits', 'probabilities'])
def test_step_by_hand(average: str, distiller: Callable, batch: Callable) -> None:
    model, data = distiller(teacher_average=average), batch()
    inputs = data['inputs']
    losses = step(model, data)
    student = model.student(inputs)
    first, other = (each(inputs) for each in model.teacher.members.values())
    plain = model.teacher.members['other'].module
    scaled = (inputs - torch.tensor([1.0, 2, 3]).view(3, 1, 1)) / torch.tensor(
        [2.0, 4, 8]
    ).view(3, 1, 1)
    torch.testing.assert_close(other, plain(scaled))
    if average == 'logits':
        mean = 0.75 * first + 0.25 * other
    else:
        mean = (0.75 * first.softmax(1) + 0.25 * other.softmax(1)).log()
    torch.testing.assert_close(losses['loss_kd'], kd_loss(student, mean, 3.0))
    for name, logits in [('', mean), ('_0', first), ('_other', other)]:
        same = (student.argmax(1) == logits.argmax(1)).float().mean()
        torch.testing.assert_close(losses[f'teacher_agreement{name}'], same)


def test_one_with_weight_0_rests(distiller: Callable, batch: Callable) -> None:
    model = distiller()
    model.teacher.weights['other'] = 0.0
    calls: list[int] = []
    other = model.teacher.members['other'].module
    other.register_forward_hook(lambda *_: calls.append(1))
    data = batch()
    losses = step(model, data)
    assert not calls and 'teacher_agreement_other' not in losses
    first = model.teacher.members['0'](data['inputs'])
    expected = kd_loss(model.student(data['inputs']), first, 3.0)
    torch.testing.assert_close(losses['loss_kd'], expected)


def test_they_are_in_no_state_and_follow_the_distiller(distiller: Callable) -> None:
    model = distiller()
    assert not any('teacher' in name for name in model.state_dict())
    model.double()
    for teacher in model.teacher.members.values():
        assert teacher.module.head.fc.weight.dtype == torch.float64


def test_a_nan_of_one_is_named(distiller: Callable, batch: Callable) -> None:
    model = distiller()
    model.teacher.members['other'].module.head.fc.bias.data[0] = float('nan')
    with pytest.raises(RuntimeError, match='gave logits that are not finite'):
        step(model, batch())


@pytest.mark.parametrize('average', ['logits', 'probabilities'])
def test_predictions_are_those_of_the_average(
    average: str, distiller: Callable, batch: Callable
) -> None:
    model, data = distiller(teacher_average=average), batch()
    logits = model.teacher(data['inputs'])
    expected = model.teacher.average(logits).softmax(1)
    found = model.teacher_predictions(data['inputs'], data['data_samples'])
    torch.testing.assert_close(torch.stack([s.pred_score for s in found]), expected)


def test_probabilities_far_from_one_another_are_finite() -> None:
    teachers = Teachers([dict(timm='a'), dict(timm='b')], 'probabilities')
    logits = [torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])]
    average = teachers.average(logits)
    torch.testing.assert_close(average, torch.tensor([[0.5, 0.5]]).log())
    narrow = teachers.average([each.half() for each in logits])
    torch.testing.assert_close(narrow, average)


def test_bad_settings(distiller: Callable, classifier: MakeConfig) -> None:
    one = dict(model=classifier(), checkpoint=None)
    for teacher, match in [
        ([one], 'needs two or more, but got 1'),
        ([one, 'resnet50'], r"teacher\[1\] must be a dict, but got 'resnet50'"),
        ([one | dict(weight=0), one | dict(weight=0)], 'All teachers have weight 0'),
        ([one, one | dict(weight=-1)], r'teacher\[1\].weight must not be negative'),
        ([one, one | dict(weight=float('nan'))], r'teacher\[1\].weight'),
        ([one | dict(name='a'), one | dict(name='a')], 'different for each'),
        ([one, one | dict(name='lossy')], "without 'loss' in it"),
        ([one, dict(cache='store')], r'teacher\[1\].cache cannot be set: views and st'),
        ([one | dict(views=2), one], r'teacher\[0\].views cannot be set'),
    ]:
        with pytest.raises(ValueError, match=match):
            distiller(teacher=teacher)
    with pytest.raises(TypeError, match=r"teacher\[0\] has the unknown key 'share'"):
        distiller(teacher=[one | dict(share=1), one])
    with pytest.raises(ValueError, match="must be 'logits' or 'probabilities', but"):
        distiller(teacher_average='softmax')
    with pytest.raises(ValueError, match='needs a list of teachers, but got one'):
        distiller(teacher=one, teacher_average='probabilities')
