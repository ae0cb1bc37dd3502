from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from mmkd_logit.models.distillers.predictions import (
    find_classifier,
    predict,
    sample_indices,
    sample_loader,
)
from mmkd_logit.registry import MODELS

Model = Callable[..., dict]


def loader(batch: dict, size: int = 3) -> DataLoader:
    items = list(zip(batch['inputs'], batch['data_samples']))

    def collate(pairs: list) -> dict[str, Any]:
        inputs, samples = zip(*pairs)
        return dict(inputs=torch.stack(inputs), data_samples=list(samples))

    return DataLoader(items, batch_size=size, collate_fn=collate)


def test_predicts_in_evaluation_mode(
    classifier: Model, batch: Callable[..., dict], device: str
) -> None:
    model = MODELS.build(classifier()).to(device)
    model.train()
    model.backbone.bn1.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    data = batch(size=7)
    found = predict(model, 'head.fc', loader(data))

    assert model.training and not model.backbone.bn1.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    model.eval()
    with torch.no_grad():
        inputs = data['inputs'].to(device)
        features = model.extract_feat(inputs, stage='pre_logits').cpu()
        logits = model(inputs).cpu()
    torch.testing.assert_close(found.features, features)
    torch.testing.assert_close(found.logits, logits)
    assert found.labels.tolist() == [0, 1, 2, 3, 4, 0, 1]


def test_finds_the_student_of_a_distiller(classifier: Model) -> None:
    cfg = dict(
        type='mmkd_logit.LogitDistiller',
        student=classifier(),
        teacher=dict(model=classifier(), checkpoint=None),
        losses=dict(kd=dict(type='KDLoss')),
    )
    model = MODELS.build(cfg)
    assert find_classifier(model, 'me') == (model.student, 'head.fc')
    assert find_classifier(model.student, 'me') == (model.student, 'head.fc')


def test_refuses_what_is_no_classifier(classifier: Model) -> None:
    segmentor = torch.nn.Module()
    segmentor.decode_head = torch.nn.Conv2d(2, 3, 1)
    with pytest.raises(TypeError, match='me needs a classifier, with one prediction'):
        find_classifier(segmentor, 'me')
    model = MODELS.build(classifier())
    model.head = torch.nn.Identity()
    with pytest.raises(TypeError, match='me needs a classifier with a linear last'):
        find_classifier(model, 'me')


def test_refuses_images_without_one_label(
    classifier: Model, batch: Callable[..., dict]
) -> None:
    model = MODELS.build(classifier())
    several = batch(size=2)
    several['data_samples'][1].set_gt_label([1, 2])
    with pytest.raises(ValueError, match='exactly one label'):
        predict(model, 'head.fc', loader(several))
    unlabelled = batch(size=2)
    del unlabelled['data_samples'][0].gt_label
    with pytest.raises(ValueError, match='exactly one label'):
        predict(model, 'head.fc', loader(unlabelled))


def test_a_sample_is_random_and_always_the_same(batch: Callable[..., dict]) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    some = sample_indices(1000, 50)
    assert torch.equal(torch.get_rng_state(), state)
    assert some == sorted(set(some)) == sample_indices(1000, 50)
    assert len(some) == 50 and 300 < sum(some) / 50 < 700
    assert sample_indices(7, 50) == list(range(7))

    data = loader(batch(size=9), size=4)
    parts = list(sample_loader(data.dataset, [1, 2, 4, 7, 8], like=data))
    assert [len(part['inputs']) for part in parts] == [4, 1]
    assert torch.equal(parts[1]['inputs'][0], data.dataset[8][0])
