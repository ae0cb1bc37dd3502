from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd_logit.models import Teacher
from mmkd_logit.registry import MODELS

MakeConfig = Callable[..., dict]


def _has_float16() -> bool:
    """Whether this torch has mixed precision with float16 on a CPU; 2.1 has not."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            with torch.autocast('cpu', torch.float16):
                return True
        except RuntimeError:
            return False


HAS_FLOAT16 = _has_float16()
NO_FLOAT16 = pytest.mark.skipif(
    not HAS_FLOAT16, reason='this torch has no float16 on a CPU'
)
# Largest relative error of the logits: bfloat16 has 8 bits, float16 has 11.
HALVES = [
    pytest.param('bfloat16', 0.03, id='bfloat16'),
    pytest.param('float16', 0.005, id='float16', marks=NO_FLOAT16),
]


def classify(backbone: dict, in_channels: int, **head: Any) -> dict:
    return dict(
        type='ImageClassifier',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling'),
        head={
            'type': 'LinearClsHead',
            'num_classes': 5,
            'in_channels': in_channels,
            **head,
        },
    )


def segment(backbone: dict, head: dict) -> dict:
    norm = dict(type='BN')
    shared = dict(channels=16, num_classes=5, norm_cfg=norm, align_corners=False)
    return dict(
        type='EncoderDecoder',
        _scope_='mmseg',
        backbone=backbone,
        decode_head={**shared, **head},
        train_cfg=None,
        test_cfg=dict(mode='whole'),
    )


SWIN = dict(embed_dims=16, depths=[2, 2], num_heads=[2, 4])
MODELS_OF_MANY_KINDS = {
    'CIFARResNet': classify(dict(type='mmkd_logit.CIFARResNet', arch='resnet8'), 64),
    # Makes the mask of its shifted windows in float32, in every forward pass.
    'SwinTransformer': classify(
        dict(
            type='SwinTransformer',
            arch=SWIN,
            img_size=64,
            window_size=4,
            out_indices=(1,),
        ),
        32,
    ),
    # Also keeps a table of float32.
    'SwinTransformerV2': classify(
        dict(
            type='SwinTransformerV2',
            arch={**SWIN, 'extra_norm_every_n_blocks': 0},
            img_size=64,
            window_size=4,
            out_indices=(1,),
        ),
        32,
    ),
    # Keeps a tensor that is no buffer from the switch to eval mode.
    'LeViT': classify(
        dict(type='LeViT', arch='128s', img_size=64), 384, type='LeViTClsHead'
    ),
    # Has Fourier transforms, which run in float32, and complex weights.
    'HorNet': classify(
        dict(
            type='HorNet',
            arch=dict(
                base_dim=16,
                depths=[1, 1, 1, 1],
                orders=[2, 3, 4, 5],
                dw_cfg=[
                    dict(type='DW', kernel_size=7),
                    dict(type='DW', kernel_size=7),
                    dict(type='GF', h=4, w=3),
                    dict(type='GF', h=2, w=2),
                ],
            ),
        ),
        128,
    )
    | dict(neck=None),
    'VisionTransformer': classify(
        dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=32, num_layers=2, num_heads=2, feedforward_channels=64
            ),
            img_size=64,
        ),
        32,
        type='VisionTransformerClsHead',
    )
    | dict(neck=None),
    'MixVisionTransformer': segment(
        dict(
            type='MixVisionTransformer',
            embed_dims=8,
            num_stages=4,
            num_layers=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 4],
        ),
        dict(type='SegformerHead', in_channels=[8, 16, 16, 32], in_index=[0, 1, 2, 3]),
    ),
    'segmentor of Swin': segment(
        dict(
            type='SwinTransformer',
            pretrain_img_size=64,
            embed_dims=16,
            depths=[2, 2],
            num_heads=[2, 4],
            window_size=4,
            strides=(4, 2),
            out_indices=(1,),
        ),
        dict(type='FCNHead', in_channels=32, in_index=0, num_convs=1),
    ),
}
EVERY_MODEL = pytest.mark.parametrize(
    'model', MODELS_OF_MANY_KINDS.values(), ids=list(MODELS_OF_MANY_KINDS)
)


@pytest.fixture
def student(classifier: MakeConfig) -> BaseModel:
    return MODELS.build(classifier())


@pytest.fixture
def load(student: BaseModel) -> Callable[..., Teacher]:
    """A teacher that is built from a config; the same weights in each call."""

    def make(model: dict, dtype: str | None = None) -> Teacher:
        teacher = Teacher(model=model, checkpoint=None, dtype=dtype)
        with pytest.warns(UserWarning, match='random weights'):
            teacher.load(student)
        return teacher

    return make


def relative_error(logits: Tensor, expected: Tensor) -> float:
    return float((logits.float() - expected).norm() / expected.norm())


@EVERY_MODEL
@pytest.mark.parametrize('dtype, bound', HALVES)
def test_logits_are_those_of_float32(
    load: Callable, model: dict, dtype: str, bound: float
) -> None:
    inputs = torch.randn(2, 3, 64, 64)
    wide, teacher = load(model), load(model, dtype)
    expected = wide(inputs)
    logits = teacher(inputs)
    assert logits.dtype == getattr(torch, dtype)
    assert 0 < relative_error(logits, expected) < bound
    # Those of mixed precision, though its weights are narrow already.
    with torch.autocast('cpu', logits.dtype):
        assert torch.equal(wide(inputs), logits)
    # Whatever is around it.
    for outer in (torch.bfloat16, torch.float16)[: 1 + HAS_FLOAT16]:
        with torch.autocast('cpu', outer):
            assert torch.equal(teacher(inputs), logits)
    assert torch.equal(teacher(inputs.double()), logits)


class Canvas(nn.Module):
    """A backbone that runs in float32 only: it writes into a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        features = self.conv(inputs)
        canvas = torch.zeros(features.shape)
        canvas[torch.arange(len(features))] = features
        return (canvas,)


class CanvasOf40(Canvas):
    """The same, of images of one size that it does not tell."""

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        if inputs.shape[-1] != 40:
            raise ValueError('images must be 40 pixels wide')
        return super().forward(inputs)


class Loud(nn.Module):
    """A backbone whose features are beyond float16, but not beyond bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3)

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.conv(inputs) * 1e6,)


class Memory(nn.Module):
    """A backbone that draws random numbers and counts, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 3)
        self.register_buffer('calls', torch.tensor(0))

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        self.calls += 1
        return (self.conv(inputs + torch.rand(1)),)


def test_what_cannot_run_is_refused_when_it_is_built(student: BaseModel) -> None:
    model = classify(dict(type=Canvas), 64)
    teacher = Teacher(model=model, checkpoint=None, dtype='bfloat16')
    with pytest.raises(ValueError) as error, pytest.warns(UserWarning):
        teacher.load(student)
    text = str(error.value)
    assert text.startswith('teacher ImageClassifier cannot run in bfloat16: Runtime')
    assert text.endswith("Set teacher.dtype to 'float32', in which it runs.")
    assert not teacher.loaded
    for dtype in (None, 'float32'):
        teacher = Teacher(model=model, checkpoint=None, dtype=dtype)
        with pytest.warns(UserWarning, match='random weights'):
            teacher.load(student)
        assert teacher(torch.randn(2, 3, 8, 8)).shape == (2, 5)


@NO_FLOAT16
def test_logits_that_overflow_are_refused(load: Callable) -> None:
    model = classify(dict(type=Loud), 64)
    assert load(model, 'bfloat16')(torch.ones(1, 3, 8, 8)).isfinite().all()
    with pytest.raises(ValueError, match='float16: OverflowError: its logits are not'):
        load(model, 'float16')


def test_what_takes_no_usual_image_is_refused_in_the_first_step(
    load: Callable,
) -> None:
    teacher = load(classify(dict(type=CanvasOf40), 64), 'bfloat16')
    with pytest.raises(ValueError, match='teacher ImageClassifier cannot run in bflo'):
        teacher(torch.randn(2, 3, 40, 40))
    # No fault of the type.
    with pytest.raises(ValueError, match='40 pixels wide'):
        teacher(torch.randn(2, 3, 8, 8))


def test_a_device_without_the_type_is_refused(
    classifier: MakeConfig, student: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As the CPU of torch 2.1 for float16, which goes on in float32.
    monkeypatch.setattr(torch, 'autocast', lambda *_, **__: nullcontext())
    teacher = Teacher(model=classifier(), checkpoint=None, dtype='float16')
    with (
        pytest.warns(UserWarning, match='random weights'),
        pytest.raises(ValueError, match="float16: torch .*'bfloat16' or 'float32'"),
    ):
        teacher.load(student)


def test_the_trial_leaves_no_trace(load: Callable) -> None:
    model = classify(dict(type=Memory), 64)
    before = torch.get_rng_state()
    teacher = load(model, 'bfloat16')
    assert torch.equal(torch.get_rng_state(), before)
    assert teacher.module.backbone.calls == 0
    teacher(torch.randn(2, 3, 8, 8))
    assert teacher.module.backbone.calls == 1


def test_weights_are_narrow_where_autocast_narrows_them(load: Callable) -> None:
    model = MODELS_OF_MANY_KINDS['SwinTransformer']
    teacher = load(model, 'bfloat16')
    stages = teacher.module.backbone.stages
    assert stages[0].blocks[0].attn.w_msa.qkv.weight.dtype == torch.bfloat16
    assert stages[0].blocks[0].norm1.weight.dtype == torch.float32
    expected = teacher(torch.ones(1, 3, 64, 64))
    teacher._apply(lambda t: t.double() if t.is_floating_point() else t)
    assert stages[0].blocks[0].norm1.weight.dtype == torch.float32
    assert torch.equal(teacher(torch.ones(1, 3, 64, 64)), expected)


def test_what_a_model_keeps_in_eval_mode_follows_it(
    load: Callable, student: BaseModel
) -> None:
    model = MODELS_OF_MANY_KINDS['LeViT']

    def kept(teacher: Teacher) -> list[Tensor]:
        parts = teacher.module.modules()
        return [part.ab for part in parts if hasattr(part, 'ab')]

    student.double()
    teacher = load(model)
    assert kept(teacher)
    assert {each.dtype for each in kept(teacher)} == {torch.float64}
    teacher._apply(lambda t: t.to('meta'))
    assert {each.device.type for each in kept(teacher)} == {'meta'}


def test_predictions_in_half_precision(load: Callable, batch: Callable) -> None:
    model = MODELS_OF_MANY_KINDS['SwinTransformer']
    data = batch(size=2)
    inputs = torch.randn(2, 3, 64, 64)
    teacher = load(model, 'bfloat16')
    found = teacher.predict(inputs, data['data_samples'])
    expected = teacher(inputs).float().softmax(1)
    for sample, score in zip(found, expected):
        torch.testing.assert_close(
            sample.pred_score.float(), score, rtol=0.02, atol=0.02
        )


@pytest.mark.parametrize('dtype', ['float8_e4m3fn', 'int32', 'half precision', 'nn'])
def test_types_that_no_model_runs_in(dtype: str) -> None:
    with pytest.raises(ValueError, match="'float32' or 'float64', but got"):
        Teacher(config='x.py', checkpoint=None, dtype=dtype)
