"""What is distilled must be what is predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.models import LinearClsHead
from mmpretrain.structures import DataSample
from mmseg.models.decode_heads import FCNHead
from torch import Tensor

from mmkd_logit.models import LogitDistiller
from mmkd_logit.registry import MODELS

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')
KD = dict(kd=dict(type='mmkd_logit.KDLoss', tau=1.0))
CE = dict(type='CrossEntropyLoss')
NORM = dict(type='BN')
SCALED = 'mmkd_logit.ScaledClsHead'


@MODELS.register_module()
class ScaledClsHead(LinearClsHead):
    """Predicts from a multiple of what its layer outputs."""

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        return 4 * super().forward(feats)


@MODELS.register_module()
class TupleClsHead(LinearClsHead):
    """Returns its logits beside others, as Conformer does."""

    def forward(self, feats: tuple[Tensor, ...]) -> Any:
        logits = super().forward(feats)
        return (logits, logits.flip(1)) if not self.training else logits

    def predict(self, feats: Any, data_samples: Any = None) -> list:
        return self._get_predictions(self(feats)[0], data_samples)


@MODELS.register_module()
class ScaledFCNHead(FCNHead):
    """Predicts from a multiple of what its layer outputs."""

    def cls_seg(self, feat: Tensor) -> Tensor:
        return 4 * super().cls_seg(feat)


def distiller(student: dict, teacher: dict, **settings: Any) -> LogitDistiller:
    model = LogitDistiller(student, dict(teacher, checkpoint=None), KD, **settings)
    model.init_weights()
    # Few networks are certain of anything before they are trained.
    for param in (*model.student.parameters(), *model.teacher.module.parameters()):
        param.data += 0.1 * torch.randn_like(param)
    return model


def samples(count: int = 4) -> list[DataSample]:
    return [DataSample().set_gt_label(index % 5) for index in range(count)]


def transformer(name: str, **head: Any) -> tuple[dict, int]:
    vit = dict(arch='deit-tiny', img_size=32, patch_size=8)
    levit = dict(arch='128s', img_size=64, drop_path_rate=0, out_indices=(2,))
    parts: dict[str, tuple] = {
        'DeiT': (dict(type='DistilledVisionTransformer', **vit), None, 192, 32),
        'LeViT': (dict(type='LeViT', **levit), 'GlobalAveragePooling', 384, 64),
    }
    backbone, neck, channels, size = parts[name]
    kind = f'{name}ClsHead'
    head = dict(type=kind, num_classes=5, in_channels=channels, loss=CE, **head)
    model = dict(type='ImageClassifier', backbone=backbone, head=head)
    model['data_preprocessor'] = dict(mean=[0.0] * 3, std=[1.0] * 3)
    if neck is not None:
        model['neck'] = dict(type=neck)
    return model, size


@pytest.mark.parametrize(
    'name, layer', [('DeiT', 'head.layers.head'), ('LeViT', 'head.head.linear')]
)
def test_a_mean_of_two_heads(name: str, layer: str) -> None:
    student, size = transformer(name)
    model = distiller(student, dict(model=student), logit_layer=layer)
    message = f"{name}ClsHead does not predict the softmax of .* '{layer}'.*averages"
    with pytest.raises(ValueError, match=message):
        model.loss(torch.randn(4, 3, size, size), samples())


def test_a_head_without_distillation_predicts_from_its_layer() -> None:
    student, size = transformer('LeViT', distillation=False)
    layer = 'head.head.linear'
    model = distiller(student, dict(model=student), logit_layer=layer)
    model.teacher.module.load_state_dict(model.student.state_dict())
    losses = model.eval().loss(torch.randn(4, 3, size, size), samples())
    assert losses['teacher_agreement'] == 1
    assert losses['loss_kd'].abs() < 1e-5


def test_a_scale_behind_the_last_layer(classifier: Callable[..., dict]) -> None:
    images = torch.randn(4, 3, 8, 8)
    model = distiller(classifier(type=SCALED), dict(model=classifier()))
    with pytest.raises(
        ValueError, match=r"ScaledClsHead does not predict .* 'head.fc'"
    ):
        model.loss(images, samples())
    # A teacher's logits are the output of the whole model.
    model = distiller(classifier(), dict(model=classifier(type=SCALED)))
    assert model.loss(images, samples())['loss_kd'] > 0


def test_the_comparison_leaves_no_trace(classifier: Callable[..., dict]) -> None:
    with_dropout = classifier(type='StackedLinearClsHead', mid_channels=[8])
    with_dropout['head']['dropout_rate'] = 0.5
    found = []
    for begun in (False, True):
        torch.manual_seed(0)
        model = distiller(with_dropout, dict(model=classifier())).train()
        model._begun = begun
        images = torch.randn(4, 3, 8, 8)
        losses = model.loss(images, samples())
        found.append((losses['loss_task'], *model.state_dict().values()))
        assert all(module.training for module in model.modules())
    for first, second in zip(*found):
        assert torch.equal(first, second)


def test_one_of_several_outputs(classifier: Callable[..., dict]) -> None:
    several = classifier(type='mmkd_logit.TupleClsHead')
    images = torch.randn(4, 3, 8, 8)
    with pytest.raises(ValueError, match=r'gives 0 \(4, 5\), 1 .* Set teacher.output'):
        distiller(classifier(), dict(model=several)).loss(images, samples())
    model = distiller(classifier(), dict(model=several, output=0))
    assert model.loss(images, samples())['loss_kd'] > 0
    model = distiller(classifier(), dict(model=several, output=1))
    with pytest.raises(ValueError, match='other than the softmax of its logits'):
        model.loss(images, samples())


def segmentor(kind: str, **head: Any) -> dict:
    head = dict(type=kind, in_channels=32, in_index=2, channels=8, num_convs=1, **head)
    head |= dict(concat_input=False, num_classes=3, norm_cfg=NORM, align_corners=False)
    return dict(
        type='EncoderDecoder',
        data_preprocessor=dict(type='SegDataPreProcessor'),
        backbone=dict(type='ResNet', depth=18, base_channels=8, norm_cfg=NORM),
        decode_head=dict(head, loss_decode=CE),
        test_cfg=dict(mode='whole'),
    )


def test_segmentors() -> None:
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    init_default_scope('mmseg')
    masks = torch.randint(3, (2, 1, 32, 32))
    labels = [SegDataSample(gt_sem_seg=PixelData(data=mask)) for mask in masks]
    images = torch.randn(2, 3, 32, 32)
    plain = segmentor('FCNHead')
    assert distiller(plain, dict(model=plain)).loss(images, labels)['loss_kd'] > 0
    scaled = distiller(segmentor('mmkd_logit.ScaledFCNHead'), dict(model=plain))
    with pytest.raises(ValueError, match='ScaledFCNHead does not predict the softmax'):
        scaled.loss(images, labels)
    sigmoid = segmentor('FCNHead', out_channels=1, threshold=0.3)
    sigmoid['decode_head'] |= dict(
        num_classes=2, loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)
    )
    with pytest.raises(ValueError, match='one channel for two classes'):
        distiller(sigmoid, dict(model=plain))


def test_other_kinds_of_models(classifier: Callable[..., dict]) -> None:
    multi = classifier(type='MultiLabelLinearClsHead')
    del multi['head']['loss']
    for student, teacher in ((multi, classifier()), (classifier(), multi)):
        with pytest.raises(ValueError, match='predicts a sigmoid per class'):
            distiller(student, dict(model=teacher))
    detector = dict(type='mmdet.FasterRCNN', backbone=dict(type='ResNet'))
    for student, teacher in ((detector, classifier()), (classifier(), detector)):
        with pytest.raises(ValueError, match=r'detect'):
            distiller(student, dict(model=teacher))
