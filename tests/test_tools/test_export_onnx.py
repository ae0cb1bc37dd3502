"""What tools/model_converters/export_onnx.py writes is what the model computes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import onnxruntime
import pytest
import torch
from command_lines import CONFIGS, REPO, call
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmkd_logit.apis import build_model
from mmkd_logit.apis.onnx import ExportedModel, check_onnx, export_onnx
from mmkd_logit.registry import MODELS

EXPORT = 'model_converters/export_onnx'
DIGITS = CONFIGS / 'dhkd' / 'res20_res8_digits.py'


@pytest.fixture(scope='module')
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of a student on digits, with random weights."""
    model = build_model(Config.fromfile(DIGITS)).student
    path = tmp_path_factory.mktemp('onnx') / 'student.pth'
    torch.save({'state_dict': model.state_dict()}, path)
    return path


def test_pixels_go_in_and_logits_of_any_batch_come_out(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / 'student.onnx'
    call(EXPORT, DIGITS, student, out, '--preprocess')
    said = capsys.readouterr().out
    assert f'{out} takes pixels from 0 to 255, N x 1 x 8 x 8.' in said
    assert '8 test images: they differ by' in said
    assert [path.name for path in tmp_path.iterdir()] == ['student.onnx']

    model = build_model(Config.fromfile(DIGITS)).student.eval()
    model.load_state_dict(torch.load(student, weights_only=True)['state_dict'])
    session = onnxruntime.InferenceSession(str(out))
    for count in (1, 5):
        pixels = torch.rand(count, 1, 8, 8) * 255
        expected = model((pixels - 78.0) / 96.0, mode='tensor')
        (got,) = session.run(['logits'], {'images': pixels.numpy()})
        torch.testing.assert_close(
            torch.from_numpy(got), expected.detach(), rtol=1e-4, atol=1e-5
        )


def test_normalized_images_go_in(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = tmp_path / 'plain.py'
    cfg = Config.fromfile(CONFIGS / 'baseline' / 'res8_digits.py')
    cfg.dump(config)
    call(EXPORT, config, student, tmp_path / 'student.onnx')
    said = capsys.readouterr().out
    assert 'takes normalized images' in said and '8 test images' in said


def test_colours_are_swapped_as_the_preprocessor_does(tmp_path: Path) -> None:
    model = build_model(
        Config(
            dict(
                default_scope='mmpretrain',
                data_preprocessor=dict(
                    mean=[10.0, 20.0, 30.0], std=[1.0, 2.0, 3.0], to_rgb=True
                ),
                model=dict(
                    type='ImageClassifier',
                    backbone=dict(
                        type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=3
                    ),
                    neck=dict(type='GlobalAveragePooling'),
                    head=dict(type='LinearClsHead', num_classes=4, in_channels=64),
                ),
            )
        )
    )
    pixels = torch.randint(256, (2, 3, 8, 8)).float()
    expected = model.data_preprocessor({'inputs': list(pixels)})['inputs']
    torch.testing.assert_close(ExportedModel(model, True).normalize(pixels), expected)


def test_logits_of_a_segmentor_have_the_size_of_the_images(tmp_path: Path) -> None:
    cfg = Config.fromfile(CONFIGS / 'baseline' / 'fcn-r18w8_scenes.py')
    torch.manual_seed(0)
    model = ExportedModel(build_model(cfg), preprocess=True)
    export_onnx(model, tmp_path / 'segmentor.onnx', (3, 64, 128))
    images = torch.rand(3, 3, 64, 128) * 255
    with torch.no_grad():
        expected = model(images)
    assert expected.shape == (3, 19, 64, 128)
    assert check_onnx(tmp_path / 'segmentor.onnx', images, expected) < 1e-4
    with pytest.raises(ValueError, match='differs from the model by'):
        check_onnx(tmp_path / 'segmentor.onnx', images, expected + 1)


class BakesItsBatch(torch.nn.Module):
    """A backbone whose traced graph holds the size of the batch as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 6, 3, 2)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.conv(images) * int(images.shape[0] / 1.0),)


def swin(scope: str) -> torch.nn.Module:
    backbone = dict(
        type='SwinTransformer', drop_path_rate=0.0, out_indices=(1,), window_size=4
    )
    init_default_scope(scope)
    if scope == 'mmseg':
        sizes = dict(embed_dims=6, depths=(2, 2), num_heads=(1, 2), strides=(4, 2))
        backbone |= dict(sizes, pretrain_img_size=32)
        head = dict(type='FCNHead', in_channels=12, channels=4, num_convs=1)
        head |= dict(num_classes=3, in_index=0, norm_cfg=dict(type='BN'))
        return MODELS.build(
            dict(
                type='EncoderDecoder',
                data_preprocessor=dict(type='SegDataPreProcessor'),
                backbone=backbone,
                decode_head=head,
                test_cfg=dict(mode='whole'),
            )
        )
    arch = dict(embed_dims=6, depths=[2, 2], num_heads=[1, 2])
    return classifier(dict(backbone, arch=arch, img_size=32), 12)


def classifier(backbone: dict | torch.nn.Module, channels: int) -> torch.nn.Module:
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=channels),
        )
    )


@pytest.mark.parametrize('scope', ['mmpretrain', 'mmseg'])
def test_window_attention_takes_any_batch(scope: str, tmp_path: Path) -> None:
    model = ExportedModel(swin(scope))
    with torch.no_grad():
        assert export_onnx(model, tmp_path / 'swin.onnx', (3, 32, 32)) < 1e-5
        for count in (1, 2, 5):
            images = torch.rand(count, 3, 32, 32)
            check_onnx(tmp_path / 'swin.onnx', images, model(images))
    assert all('window_reverse' not in vars(part) for part in model.modules())


def test_a_file_that_is_right_for_one_batch_only_is_not_kept(tmp_path: Path) -> None:
    model = ExportedModel(classifier(BakesItsBatch(), 6))
    path = tmp_path / 'student.onnx'
    with torch.no_grad():
        with pytest.raises(ValueError, match='differs .* 1 images.*--batch 1'):
            export_onnx(model, path, (3, 16, 16))
        assert not list(tmp_path.iterdir())
        export_onnx(model, path, (3, 16, 16), batch=2)
    (shape,) = (each.shape for each in onnxruntime.InferenceSession(path).get_inputs())
    assert shape == [2, 3, 16, 16]
    assert [each.name for each in tmp_path.iterdir()] == ['student.onnx']


def test_a_file_that_is_wrong_on_test_images_is_not_kept(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        'mmkd_logit.apis.onnx.mean_std',
        lambda _: (torch.ones(1, 1, 1), torch.ones(1, 1, 1)),
    )
    out = tmp_path / 'student.onnx'
    with pytest.raises(ValueError, match='differs from the model by'):
        call(EXPORT, DIGITS, student, out, '--preprocess')
    assert not out.exists()


def test_a_fixed_batch(
    student: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    call(EXPORT, DIGITS, student, tmp_path / 'student.onnx', '--batch', '3')
    said = capsys.readouterr().out
    assert '3 x 1 x 8 x 8.' in said and '3 test images' in said


@pytest.mark.skipif(
    torch.__version__ < '2.6', reason='torch.export knows no free size of the batch'
)
def test_the_program_of_the_page(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (REPO / 'docs' / 'export.md').read_text()
    (block,) = re.findall(r'^```python\n(.*?)^```', text, re.M | re.S)
    Config.fromfile(CONFIGS / 'baseline' / 'res8_digits.py').dump('student.py')
    shutil.copy(student, 'student_last.pth')
    exec(block.replace('3, 224, 224', '1, 8, 8'), made := {})
    pixels = torch.rand(5, 1, 8, 8) * 255
    program = torch.export.load('student.pt2').module()
    torch.testing.assert_close(program(pixels), made['exported'](pixels))


def test_what_cannot_be_exported_is_refused(student: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        call(EXPORT, DIGITS, student, tmp_path / 'student.pth')
    with pytest.raises(ValueError, match='--images 0 needs --shape'):
        call(EXPORT, DIGITS, student, tmp_path / 'student.onnx', '--images', '0')
    cfg = Config.fromfile(CONFIGS / 'baseline' / 'res8_digits.py')
    cfg.test_dataloader = None
    cfg.dump(tmp_path / 'plain.py')
    out = tmp_path / 'student.onnx'
    with pytest.raises(ValueError, match='has no test_dataloader'):
        call(EXPORT, tmp_path / 'plain.py', student, out)
    call(
        *(EXPORT, tmp_path / 'plain.py', student, out),
        *('--images', '0', '--shape', '8', '8'),
    )
    assert onnxruntime.InferenceSession(out).get_inputs()[0].shape[1:] == [1, 8, 8]
