"""The distiller on mmseg's segmentors: rows are pixels."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn.functional import interpolate

from mmkd_logit.functional import (
    binary_kl_norm_loss,
    cwd_loss,
    dkd_loss,
    kd_loss,
    swap_errors,
)
from mmkd_logit.models import ConvLogitHead, LogitDistiller
from mmkd_logit.registry import MODELS
from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks import SegmentationTask

CLASSES = 4
DHKD = dict(
    aux_head=dict(type='ConvLogitHead'),
    losses=dict(dhkd=dict(type='BinaryKLNormLoss', loss_weight=0.1, head='aux')),
)
KD = dict(losses=dict(kd=dict(type='KDLoss', tau=2.0)))

pytestmark = pytest.mark.filterwarnings('ignore:.*random weights')


@pytest.fixture(autouse=True)
def _scope() -> None:
    init_default_scope('mmseg')


def head(kind: str = 'FCNHead', **settings: Any) -> dict:
    return {
        'type': kind,
        'in_channels': 32,
        'channels': 8,
        'num_convs': 1,
        'concat_input': False,
        'num_classes': CLASSES,
        'norm_cfg': dict(type='BN'),
        'align_corners': False,
        'loss_decode': dict(type='CrossEntropyLoss'),
        **settings,
    }


def segmentor(decode_head: Any = None, stride: int = 8, **settings: Any) -> dict:
    """A small segmentor of four classes."""
    strides = {8: (1, 2, 1, 1), 16: (1, 2, 2, 1)}[stride]
    return dict(
        type='EncoderDecoder',
        backbone=dict(
            type='ResNetV1c',
            depth=18,
            stem_channels=4,
            base_channels=4,
            strides=strides,
            dilations=(1, 1, 1, 1),
        ),
        decode_head=decode_head or head(),
        data_preprocessor=dict(
            type='SegDataPreProcessor', mean=[0.0] * 3, std=[1.0] * 3, size=(32, 48)
        ),
        train_cfg=dict(),
        test_cfg=ConfigDict(mode='whole'),
        **settings,
    )


def batch(labels: Tensor | None = None) -> dict:
    if labels is None:
        labels = torch.randint(CLASSES + 1, (2, 32, 48))
        labels = labels.masked_fill(labels == CLASSES, 255)
    samples = []
    for each in labels:
        sample = SegDataSample(metainfo=dict(img_shape=(32, 48), ori_shape=(32, 48)))
        sample.gt_sem_seg = PixelData(data=each[None])
        samples.append(sample)
    return dict(inputs=list(torch.randn(2, 3, 32, 48)), data_samples=samples)


def distiller(init: bool = True, **settings: Any) -> LogitDistiller:
    model = MODELS.build(
        {
            'type': 'mmkd_logit.LogitDistiller',
            'student': segmentor(),
            'teacher': dict(model=segmentor(), checkpoint=None),
            **settings,
        }
    )
    if init:
        model.init_weights()
    return model


def step(model: LogitDistiller, data: dict) -> tuple[dict[str, Any], dict]:
    """Losses of a step and its backward pass; the preprocessed data."""
    data = model.data_preprocessor(copy.deepcopy(data), True)
    losses = model(**data, mode='loss')
    model.zero_grad()
    model.parse_losses(losses)[0].backward()
    return losses, data


@pytest.mark.parametrize('resolution', ['student', 'label'])
def test_dhkd_step_by_hand(resolution: str) -> None:
    """A teacher of another stride; the dropout in front of the last layer is off."""
    model = distiller(
        student=segmentor(head(dropout_ratio=0)),
        teacher=dict(model=segmentor(stride=16), checkpoint=None),
        resolution=resolution,
        **DHKD,
    )
    losses, data = step(model, batch())
    assert set(losses) == {
        'decode.loss_ce',
        'decode.acc_seg',
        'loss_dhkd',
        'teacher_agreement',
    }
    student = model.student
    seen: list[Tensor] = []
    handle = student.decode_head.conv_seg.register_forward_hook(
        lambda layer, args, output: seen.append(args[0])
    )
    student(data['inputs'])
    handle.remove()
    aux, teacher = model.aux_head(seen[0]), model.teacher(data['inputs'])
    labels = torch.stack([s.gt_sem_seg.data[0] for s in data['data_samples']])
    assert aux.shape[2:] == (4, 6) and teacher.shape[2:] == (2, 3)
    if resolution == 'student':
        labels = labels[:, 4::8, 4::8]
    else:
        aux = interpolate(aux, (32, 48), mode='bilinear')
    teacher = interpolate(teacher, labels.shape[1:], mode='bilinear')
    valid = labels != 255
    rows = [maps.permute(0, 2, 3, 1)[valid] for maps in (aux, teacher)]
    expected = 0.1 * binary_kl_norm_loss(*rows)
    torch.testing.assert_close(losses['loss_dhkd'], expected, rtol=1e-5, atol=0)
    assert all(p.grad is not None for p in model.parameters())


def test_heads_and_losses_of_the_student_are_untouched() -> None:
    """Auxiliary heads, OHEM, several decode losses: as in the plain segmentor."""
    settings = dict(
        decode_head=head(
            dropout_ratio=0,
            sampler=dict(type='OHEMPixelSampler', thresh=0.7, min_kept=50),
            loss_decode=[
                dict(type='CrossEntropyLoss', loss_name='loss_ce'),
                dict(type='LovaszLoss', reduction='none', loss_weight=0.5),
            ],
        ),
        auxiliary_head=[
            head(in_channels=16, in_index=2, dropout_ratio=0),
            head(in_channels=8, in_index=1, dropout_ratio=0),
        ],
    )
    model = distiller(student=segmentor(**settings), **KD)
    plain = MODELS.build(segmentor(**settings))
    plain.load_state_dict(model.student.state_dict())
    losses, data = step(model, batch())
    expected = plain.loss(**data)
    assert set(expected) == {
        *('decode.loss_ce', 'decode.loss_lovasz', 'decode.acc_seg'),
        *('aux_0.loss_ce', 'aux_0.acc_seg', 'aux_1.loss_ce', 'aux_1.acc_seg'),
    }
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value)


def test_cascade() -> None:
    """The last stage of a cascade is distilled, and can teach."""
    ocr = head('OCRHead', ocr_channels=4, dropout_ratio=0)
    for key in ('num_convs', 'concat_input'):
        ocr.pop(key)
    cascade = segmentor([head(dropout_ratio=0), ocr])
    cascade.update(type='CascadeEncoderDecoder', num_stages=2)
    teacher = dict(model=cascade, checkpoint=None)
    model = distiller(student=cascade, teacher=teacher, **KD)
    assert model.logit_layer == 'decode_head.1.conv_seg'
    losses, data = step(model, batch())
    logits = model.student(data['inputs'])
    labels = torch.stack([s.gt_sem_seg.data[0] for s in data['data_samples']])
    valid = labels[:, 4::8, 4::8] != 255
    maps = logits, model.teacher(data['inputs'])
    rows = [m.permute(0, 2, 3, 1)[valid] for m in maps]
    torch.testing.assert_close(losses['loss_kd'], kd_loss(*rows, tau=2.0))
    assert {'decode_0.loss_ce', 'decode_1.loss_ce'} <= set(losses)


def test_losses_and_transforms_that_take_labels_get_those_of_the_pixels() -> None:
    dkd = dict(type='DKDLoss', beta=2.0, transforms=['swap_errors'])
    model = distiller(
        student=segmentor(head(dropout_ratio=0)),
        losses=dict(dkd=dkd, nkd=dict(type='NKDLoss')),
    )
    losses, data = step(model, batch())
    maps = model.student(data['inputs']), model.teacher(data['inputs'])
    labels = torch.stack([s.gt_sem_seg.data[0] for s in data['data_samples']])
    labels = labels[:, 4::8, 4::8]
    valid = labels != 255
    s, t = (m.permute(0, 2, 3, 1)[valid] for m in maps)
    y = labels[valid]
    expected = dkd_loss(s, swap_errors(t, y), y, beta=2.0)
    torch.testing.assert_close(losses['loss_dkd'], expected, rtol=1e-5, atol=0)
    assert losses['loss_nkd'] > 0


def real_time(name: str) -> dict:
    """A small network of mmseg whose head has several outputs in training."""
    norm = dict(norm_cfg=dict(type='BN'), align_corners=False)
    cross, hard = dict(type='CrossEntropyLoss'), dict(type='OhemCrossEntropy')
    kind, losses = {
        'PIDNet': ('PIDHead', [cross, hard, dict(type='BoundaryLoss'), hard]),
        'DDRNet': ('DDRHead', [hard, hard]),
    }[name]
    model = segmentor(
        dict(
            type=kind,
            in_channels=16,
            channels=8,
            num_classes=CLASSES,
            loss_decode=losses,
            **norm,
        )
    )
    model['backbone'] = dict(type=name, channels=4, ppm_channels=4, **norm)
    return model


@pytest.mark.parametrize('name', ['PIDNet', 'DDRNet'])
def test_real_time_students_with_several_outputs(name: str) -> None:
    """The output that they predict with is distilled; the others keep their losses."""
    model = distiller(student=real_time(name), resolution='label', **DHKD)
    assert model.logit_layer == 'decode_head.conv_seg'
    data = batch()
    for sample in data['data_samples']:
        sample.gt_edge_map = PixelData(data=torch.zeros(1, 32, 48, dtype=torch.long))
    with torch.no_grad():
        shape = model.eval().student(torch.stack(data['inputs'])).shape
    losses, _ = step(model.train(), data)
    assert len([key for key in losses if key.startswith('decode.')]) >= 3
    assert losses['loss_dhkd'] > 0 and shape == (2, CLASSES, 4, 6)
    assert all(param.grad is not None for param in model.parameters())


def test_transformer_teaches_a_cnn() -> None:
    mit = segmentor(
        dict(
            type='SegformerHead',
            in_channels=[8, 16, 16, 16],
            in_index=[0, 1, 2, 3],
            channels=8,
            num_classes=CLASSES,
            norm_cfg=dict(type='BN'),
        )
    )
    mit['backbone'] = dict(
        type='MixVisionTransformer',
        embed_dims=8,
        num_layers=[1, 1, 1, 1],
        num_heads=[1, 2, 2, 2],
    )
    model = distiller(teacher=dict(model=mit, checkpoint=None), **DHKD)
    losses, data = step(model, batch())
    assert model.teacher(data['inputs']).shape[2:] == (8, 12)
    assert losses['loss_dhkd'].isfinite() and losses['loss_dhkd'] > 0


@pytest.mark.parametrize('resolution', ['student', 'label'])
def test_a_batch_of_ignored_pixels(resolution: str) -> None:
    model = distiller(resolution=resolution, kendall_tau_rows=4, **DHKD)
    losses, _ = step(model, batch(torch.full((2, 32, 48), 255)))
    assert losses['loss_dhkd'] == 0 and losses['teacher_agreement'] == 0
    assert losses['kendall_tau'] == 0
    assert (model.aux_head.conv_logit.weight.grad == 0).all()


def test_a_step_without_rows_is_said_once(warned: list[str]) -> None:
    model, void = distiller(**KD), batch(torch.full((2, 32, 48), 255))
    step(model, batch())
    assert not warned
    for _ in range(3):
        step(model, void)
    (said,) = warned
    assert 'no label of the batch counts' in said and 'reduce_zero_label' in said


@pytest.mark.parametrize('resolution', ['student', 'label'])
def test_dhkd_across_families(resolution: str) -> None:
    """The nonlinear head of the paper, pixel by pixel."""
    settings = DHKD | dict(aux_head=dict(type='MLPLogitHead'))
    model = distiller(resolution=resolution, **settings)
    losses, _ = step(model, batch())
    assert losses['loss_dhkd'] > 0
    assert all(p.grad is not None for p in model.parameters())
    linear = DHKD | dict(aux_head=dict(type='LinearLogitHead'))
    with pytest.raises(ValueError, match='takes vectors, but .* maps. Use ConvLogit'):
        distiller(**linear)


def test_mcld_needs_no_setting_of_the_pipeline() -> None:
    """mmseg's pipelines pack the path of an image, but not its index."""
    loss = dict(type='MCLDLoss', queue_size=50, max_rows=20)
    model, data = distiller(losses=dict(mcld=loss)), batch()
    for index, sample in enumerate(data['data_samples']):
        sample.set_metainfo(dict(img_path=f'town/{index}.png'))
    losses, _ = step(model, data)
    assert losses['loss_mcld'] > 0
    assert len(model.losses['mcld'].queue.image_index.unique()) == 2


@pytest.mark.parametrize('resolution', ['student', 'label'])
def test_cwd_tells_images_apart(resolution: str) -> None:
    """Also one that is there twice, as repeated augmentation has it."""
    losses = dict(cwd=dict(type='CWDLoss', tau=2.0), kd=dict(type='KDLoss'))
    model, data = distiller(losses=losses, resolution=resolution), batch()
    for sample in data['data_samples']:
        sample.set_metainfo(dict(sample_idx=7))
    seen: list[LogitRows] = []
    model.losses['kd'].register_forward_pre_hook(lambda _, rows: seen.append(*rows))
    losses, _ = step(model, data)
    (rows,) = seen
    each = []
    for place in (0, 1):
        here = rows.batch_index == place
        pair = rows.student[here], rows.teacher[here]
        each.append(cwd_loss(*pair, torch.zeros(len(pair[0])).long(), tau=2.0))
    assert rows.image_index.unique().tolist() == [7]
    assert losses['loss_cwd'] > 0
    torch.testing.assert_close(losses['loss_cwd'], sum(each) / 2)


def test_task_loss_weight_zero() -> None:
    student = segmentor(auxiliary_head=head(in_channels=16, in_index=2))
    model = distiller(student=student, task_loss_weight=0.0, **KD)
    losses, _ = step(model, batch())
    assert {'decode.task_ce', 'aux.task_ce', 'decode.acc_seg'} <= set(losses)
    torch.testing.assert_close(model.parse_losses(losses)[0], losses['loss_kd'])
    assert (model.student.auxiliary_head.conv_seg.weight.grad == 0).all()


def test_split_losses() -> None:
    student = segmentor(auxiliary_head=head(in_channels=16, in_index=2))
    model = distiller(student=student, **KD)
    losses, _ = step(model, batch())
    task, distill = model.split_losses(losses)
    torch.testing.assert_close(task, losses['decode.loss_ce'] + losses['aux.loss_ce'])
    assert distill == losses['loss_kd']


def test_predicts_as_the_student() -> None:
    model = distiller(init=False, **DHKD).eval()
    data = batch()
    with torch.no_grad():
        predictions = model.val_step(data)
    assert predictions[0].pred_sem_seg.data.shape == (1, 32, 48)


def slide() -> dict:
    """A segmentor that is tested in windows."""
    student = segmentor(head(dropout_ratio=0))
    student['test_cfg'] = ConfigDict(mode='slide', crop_size=(16, 24), stride=(8, 12))
    return student


def scaled_and_flipped(data: dict) -> dict:
    """A batch for test-time augmentation: as it is, larger, and flipped."""
    larger = [
        interpolate(image[None], (48, 72), mode='bilinear')[0]
        for image in data['inputs']
    ]
    flipped = [image.flip(2) for image in data['inputs']]
    samples = [copy.deepcopy(data['data_samples']) for _ in range(3)]
    for sample in samples[1]:
        sample.set_metainfo(dict(img_shape=(48, 72)))
    for sample in samples[2]:
        sample.set_metainfo(dict(flip=True, flip_direction='horizontal'))
    return dict(inputs=[data['inputs'], larger, flipped], data_samples=samples)


@pytest.mark.parametrize('augmented', [False, True])
def test_windows_and_augmented_testing_are_those_of_mmseg(augmented: bool) -> None:
    """Of the distiller, and of the plain student with its weights."""
    model = distiller(init=False, student=slide(), **DHKD)
    nn.init.normal_(model.student.decode_head.conv_seg.weight)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # statistics of the next batch
    data, maps = batch(), []
    model.train()(torch.stack(data['inputs']))
    plain = MODELS.build(slide())
    plain.load_state_dict(model.student.state_dict())
    for sample in data['data_samples']:
        sample.set_metainfo(dict(img_path='a.png'))
    if augmented:
        data = scaled_and_flipped(data)
    for each in (model, plain):
        tested = MODELS.build(dict(type='SegTTAModel', module=each))
        with torch.no_grad():
            predictions = (
                (tested if augmented else each).eval().test_step(copy.deepcopy(data))
            )
        maps.append(torch.stack([p.pred_sem_seg.data.squeeze() for p in predictions]))
    assert torch.equal(*maps)
    assert maps[0].shape == (2, 32, 48) and len(maps[0].unique()) > 1


def test_conv_logit_head() -> None:
    linear = ConvLogitHead(in_channels=8, num_classes=3)
    linear.init_weights()
    feature = torch.randn(2, 8, 4, 5)
    weight, bias = linear.conv_logit.weight[:, :, 0, 0], linear.conv_logit.bias
    expected = torch.einsum('ndhw,cd->nchw', feature, weight) + bias.view(3, 1, 1)
    torch.testing.assert_close(linear(feature), expected)
    assert (bias == 0).all()
    mlp = ConvLogitHead(in_channels=8, num_classes=3, hidden_channels=6)
    kinds = [type(layer) for layer in mlp.hidden]
    expected_kinds = [nn.Conv2d, nn.Dropout2d, nn.BatchNorm2d, nn.ReLU]
    assert all(map(issubclass, kinds, expected_kinds))
    assert mlp(feature).shape == (2, 3, 4, 5)


def test_students_that_can_not_be_distilled_per_pixel() -> None:
    binary = segmentor(
        head(
            num_classes=2,
            out_channels=1,
            loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True),
        )
    )
    with pytest.raises(ValueError, match='FCNHead has one channel for two classes'):
        distiller(student=binary, **KD)
    masks = segmentor(
        dict(
            type='SegmenterMaskTransformerHead',
            in_channels=32,
            channels=8,
            num_layers=1,
            num_heads=2,
            embed_dims=8,
            num_classes=CLASSES,
        )
    )
    with pytest.raises(ValueError, match='SegmenterMaskTransformerHead has no last'):
        distiller(student=masks, **KD)


@pytest.mark.parametrize('name', ['Mask2FormerHead', 'MaskFormerHead', 'SAN', 'Point'])
def test_mask_classification_heads_of_any_name(name: str) -> None:
    """They need mmdet or compiled mmcv to be built; no one has such a layer."""
    model = nn.Module()
    model.decode_head = type(name, (nn.Module,), {'out_channels': CLASSES})()
    with pytest.raises(ValueError, match=f'{name} has no last layer .*conv_seg'):
        SegmentationTask.find_logit_layer(model)


def test_bad_labels_are_named_before_the_forward() -> None:
    model = distiller(**KD)
    labels = torch.zeros(2, 32, 48, dtype=torch.long)
    labels[1, 3, 3] = 9
    data = batch(labels)
    data['data_samples'][1].set_metainfo(dict(seg_map_path='town_1.png'))
    with pytest.raises(
        ValueError, match=r'town_1.png holds \[9\], but .*0 to 3, or 25'
    ):
        step(model, data)
    prepared = model.data_preprocessor(batch(), True)
    with pytest.raises(ValueError, match=r'\(32, 48\), but its image has \(32, 40\)'):
        model.loss(prepared['inputs'][..., :40], prepared['data_samples'])
    with pytest.raises(ValueError, match="resolution must be 'student' or 'label'"):
        distiller(init=False, resolution='teacher', **KD)
    with pytest.raises(TypeError, match="the key 'at'.*Write resolution instead"):
        distiller(init=False, at='label', **KD)


def test_teacher_of_other_classes() -> None:
    teacher = dict(model=segmentor(head(num_classes=7)), checkpoint=None)
    with pytest.raises(ValueError, match='7 classes, but the student has 4'):
        distiller(teacher=teacher, **KD)


@pytest.mark.parametrize('average', ['logits', 'probabilities'])
def test_teachers_of_several_strides(average: str) -> None:
    corners = segmentor(head(align_corners=True), stride=16)
    model = distiller(
        student=segmentor(head(dropout_ratio=0)),
        teacher=[
            dict(model=segmentor(), checkpoint=None, weight=1.0),
            dict(model=corners, checkpoint=None, weight=3.0),
        ],
        teacher_average=average,
        losses=dict(kd=dict(type='KDLoss', tau=2.0)),
    )
    data = batch(torch.zeros(2, 32, 48, dtype=torch.long))
    losses, data = step(model, data)
    student = model.student(data['inputs'])
    rows = []
    for teacher, align in zip(model.teacher.members.values(), (False, True)):
        maps = teacher(data['inputs'])
        maps = interpolate(
            maps, student.shape[2:], mode='bilinear', align_corners=align
        )
        rows.append(maps.permute(0, 2, 3, 1).flatten(0, 2))
    student = student.permute(0, 2, 3, 1).flatten(0, 2)
    if average == 'logits':
        mean = 0.25 * rows[0] + 0.75 * rows[1]
    else:
        mean = (0.25 * rows[0].softmax(1) + 0.75 * rows[1].softmax(1)).log()
    same = (student.argmax(1) == mean.argmax(1)).float().mean()
    torch.testing.assert_close(losses['loss_kd'], kd_loss(student, mean, 2.0))
    torch.testing.assert_close(losses['teacher_agreement'], same)
    found = model.teacher_predictions(data['inputs'], data['data_samples'])
    full = [
        interpolate(
            each(data['inputs']), (32, 48), mode='bilinear', align_corners=align
        )
        for each, align in zip(model.teacher.members.values(), (False, True))
    ]
    expected = model.teacher.average(full).argmax(1)
    assert torch.equal(torch.cat([s.pred_sem_seg.data for s in found]), expected)


def test_images_without_labels() -> None:
    student = segmentor(head(dropout_ratio=0))
    model = distiller(student=student, task_loss_weight=0.0, **KD)
    data = batch()
    for sample in data['data_samples']:
        del sample.gt_sem_seg
    # The second image is smaller, and padded to the right and below.
    data['inputs'][1] = data['inputs'][1][:, :24, :40]
    losses, data = step(model, data)
    assert set(losses) == {'loss_kd', 'teacher_agreement'}
    logits, teacher = model.student(data['inputs']), model.teacher(data['inputs'])
    rows = [
        torch.cat([each[0].flatten(1), each[1, :, :3, :5].flatten(1)], 1).T
        for each in (logits, teacher)
    ]
    torch.testing.assert_close(losses['loss_kd'], kd_loss(*rows, 2.0))


def test_some_images_without_labels() -> None:
    student = segmentor(head(dropout_ratio=0))
    model, data = distiller(student=student, **KD), batch()
    labels = data['data_samples'][0].gt_sem_seg.data
    del data['data_samples'][1].gt_sem_seg
    losses, data = step(model, data)
    assert 'gt_sem_seg' not in data['data_samples'][1]
    logits, teacher = model.student(data['inputs']), model.teacher(data['inputs'])
    large = interpolate(logits, (32, 48), mode='bilinear', align_corners=False)
    entropy = nn.functional.cross_entropy(
        large[:1], labels, ignore_index=255, reduction='sum'
    )
    # mmseg's mean is over all pixels, also those that are ignored.
    torch.testing.assert_close(losses['decode.loss_ce'], entropy / (2 * 32 * 48))
    at = (labels[:, 4::8, 4::8] != 255).flatten()
    rows = [
        torch.cat([each[0].flatten(1)[:, at], each[1].flatten(1)], 1).T
        for each in (logits, teacher)
    ]
    torch.testing.assert_close(losses['loss_kd'], kd_loss(*rows, 2.0))


def test_a_class_that_no_pixel_has_is_said_once(warned: list[str]) -> None:
    """As in masks of 0 and 255, which is ignore_index."""
    model = distiller(**KD)
    labels = torch.randint(CLASSES, (2, 32, 48))
    labels[labels == 1] = 255
    for _ in range(16 * CLASSES):
        step(model, batch(labels))
    (said,) = (text for text in warned if 'no pixel of the first' in text)
    assert 'first 64 images belongs to the classes 1 of 4' in said


def test_padding_of_a_teacher_with_another_mean() -> None:
    """It is 0 after the teacher's normalization, as it was in its training."""
    own = dict(segmentor(), data_preprocessor=dict(type='SegDataPreProcessor'))
    own['data_preprocessor'] |= dict(mean=[9.0] * 3, std=[2.0] * 3, size=(32, 48))
    settings = dict(model=own, checkpoint=None, preprocess={})
    seen: list[Tensor] = []
    for teacher in (settings, [settings, dict(settings, name='other')]):
        model = distiller(teacher=teacher, **KD)
        module = model.teacher.members[next(iter(model.teacher.members))].module
        module.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        data = batch()
        data['inputs'] = [image[:, :30, :40] for image in data['inputs']]
        for sample in data['data_samples']:
            mask = sample.gt_sem_seg.data[:, :30, :40]
            sample.gt_sem_seg = PixelData(data=mask)
        step(model, data)
        padded = seen[-1].clone()
        expected = torch.zeros_like(padded)
        expected[..., :30, :40] = (torch.stack(data['inputs']) - 9) / 2
        torch.testing.assert_close(padded, expected)
