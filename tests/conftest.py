"""Tiny models and data, made on the spot."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

# Processes of pytest-xdist share the cores.
if workers := int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 0)):
    torch.set_num_threads(max(1, torch.get_num_threads() // workers))

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')


@pytest.fixture(params=['cpu', pytest.param('cuda', marks=NO_GPU)])
def device(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(autouse=True)
def _scope_and_seed() -> None:
    """What a Runner sets up before it builds a model."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)


@pytest.fixture
def warned() -> Iterator[list[str]]:
    """Messages that are logged as warnings."""
    yield from _messages(logging.WARNING)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Messages that are logged."""
    yield from _messages(logging.INFO)


def _messages(level: int) -> Iterator[list[str]]:
    messages: list[str] = []
    handler = logging.Handler(level)
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


@pytest.fixture
def classifier() -> Callable[..., dict]:
    """Config of a small mmpretrain classifier: 8 features, 5 classes."""

    def make(num_classes: int = 5, in_channels: int = 64, **head: Any) -> dict:
        return dict(
            type='ImageClassifier',
            backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8'),
            neck=dict(type='GlobalAveragePooling'),
            head={
                'type': 'LinearClsHead',
                'num_classes': num_classes,
                'in_channels': in_channels,
                'loss': dict(type='CrossEntropyLoss'),
                **head,
            },
            data_preprocessor=dict(
                num_classes=num_classes, mean=[0.0] * 3, std=[1.0] * 3
            ),
        )

    return make


@pytest.fixture
def batch() -> Callable[..., dict]:
    """Images and labels as a data loader gives them."""
    from mmpretrain.structures import DataSample

    def make(size: int = 4, num_classes: int = 5) -> dict:
        samples = []
        for index in range(size):
            sample = DataSample().set_gt_label(index % num_classes)
            sample.set_field(100 + index, 'sample_idx', field_type='metainfo')
            sample.set_field(num_classes, 'num_classes', field_type='metainfo')
            samples.append(sample)
        return dict(inputs=torch.randn(size, 3, 8, 8), data_samples=samples)

    return make
