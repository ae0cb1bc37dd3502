"""Teachers of other libraries, saved in the libraries' own form, never downloaded."""

from __future__ import annotations

import ast
import copy
import json
import sys
import zipfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from PIL import Image
from torch import Tensor, nn

import mmkd_logit
from mmkd_logit.models import Teacher
from mmkd_logit.registry import MODELS

timm = pytest.importorskip('timm', reason='timm is not installed')
transformers = pytest.importorskip(
    'transformers', reason='transformers is not installed'
)
pytest.importorskip('onnxruntime', reason='onnxruntime is not installed')
torchvision = pytest.importorskip('torchvision', reason='torchvision is not installed')

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
CLASSES = 5


class Plain(nn.Module):
    """A small network, as others export one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(images)).relu().mean((2, 3)))


class Wordy(Plain):
    """The same, with more than logits."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        logits = super().forward(images)
        return {'scores': logits.softmax(1), 'classes': logits}


def make_student(channels: str) -> BaseModel:
    """A classifier that gets images in this order, normalized in its own way."""
    order = {'to_rgb': True} if channels == 'rgb' else {}
    mean = MEAN if channels == 'rgb' else MEAN[::-1]
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8'),
            data_preprocessor=dict(mean=mean, std=[50.0, 60.0, 70.0], **order),
        )
    )


@pytest.fixture
def student(request: pytest.FixtureRequest) -> BaseModel:
    return make_student(getattr(request, 'param', 'rgb'))


both_orders = pytest.mark.parametrize('student', ['rgb', 'bgr'], indirect=True)


def pictures(height: int, width: int, count: int = 2) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def seen_by(student: BaseModel, images: list[Image.Image]) -> Tensor:
    """What a student gets of images that OpenMMLab has read, in the order BGR."""
    bgr = np.stack([np.asarray(each)[..., ::-1] for each in images])
    inputs = torch.from_numpy(bgr.copy()).permute(0, 3, 1, 2)
    return student.data_preprocessor({'inputs': inputs})['inputs']


def logits_of(student: BaseModel, images: list[Image.Image], **settings: Any) -> Tensor:
    teacher = Teacher(**settings)
    teacher.load(student)
    teacher.meet(CLASSES, None, getattr(teacher.module, 'num_classes', None), 2)
    return teacher(seen_by(student, images))


def randomize(model: nn.Module) -> None:
    """Weights that give other logits for other images, however deep the network."""
    torch.manual_seed(1)
    for value in model.parameters():
        if value.ndim > 1:
            nn.init.normal_(value, std=1.5 * value[0].numel() ** -0.5)
        else:
            nn.init.uniform_(value, 0.5, 1.0)


def assert_close(logits: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


# timm


def save_timm(folder: Path, name: str, **options: Any) -> Any:
    """A model of timm with random weights in a folder of its own form."""
    model = timm.create_model(name, num_classes=CLASSES, **options).eval()
    randomize(model)
    timm.models.save_for_hf(model, folder, model_args=options or None)
    return model


@torch.no_grad()
def timm_logits(model: Any, images: list[Image.Image]) -> Tensor:
    data = timm.data.resolve_data_config({}, model=model)
    size = (data['input_size'][0], *np.asarray(images[0]).shape[:2])
    data |= {'input_size': size, 'crop_pct': 1.0}
    transform = timm.data.create_transform(**data, is_training=False)
    return model(torch.stack([transform(each) for each in images]))


@both_orders
@pytest.mark.parametrize('name', ['test_resnet', 'test_convnext'])
def test_timm(name: str, student: BaseModel, tmp_path: Path) -> None:
    model = save_timm(tmp_path, name)
    images = pictures(64, 48)
    logits = logits_of(student, images, timm=str(tmp_path))
    assert_close(logits, timm_logits(model, images))
    assert logits.std(0).min() > 1e-3


def test_timm_of_one_size(
    student: BaseModel, tmp_path: Path, logged: list[str]
) -> None:
    model = save_timm(tmp_path, 'test_vit', img_size=64, dynamic_img_size=False)
    same = pictures(64, 64)
    expected = timm_logits(model, same)
    assert_close(logits_of(student, same, timm=str(tmp_path)), expected)

    small = pictures(48, 40)
    (said,) = [line for line in logged if 'its images are' in line]
    assert (
        'according to timm' in said
        and 'resized to 64 x 64 pixels (height x width), bicubic' in said
    )
    with pytest.raises(ValueError, match=r'takes images of 64 x 64 .* 48 x 40 .*auto'):
        logits_of(student, small, timm=str(tmp_path), resize=None)
    # By torchvision's transform of the same pixels, which do not become integers.
    wanted = torch.stack([as_tensor(each) for each in small])
    resized = torchvision.transforms.functional.resize(
        wanted,
        [64, 64],
        torchvision.transforms.InterpolationMode.BICUBIC,
        antialias=True,
    ).clamp(0, 1)
    data = timm.data.resolve_data_config({}, model=model)
    normalize = torchvision.transforms.Normalize(data['mean'], data['std'])
    with torch.no_grad():
        expected = model(normalize(resized))
    assert_close(logits_of(student, small, timm=str(tmp_path)), expected)


def as_tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_timm_with_a_file(suffix: str, student: BaseModel, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    model = save_timm(tmp_path, 'test_resnet')
    path = tmp_path / f'mine{suffix}'
    save = save_file if suffix == '.safetensors' else torch.save
    save(model.state_dict(), path)
    images = pictures(32, 32)
    settings = dict(timm='test_resnet', options=dict(num_classes=CLASSES))
    logits = logits_of(student, images, checkpoint=str(path), **settings)
    assert_close(logits, timm_logits(model, images))
    with pytest.raises(ValueError, match='file in the model only|in the file only|sha'):
        logits_of(student, images, checkpoint=str(path), timm='test_resnet')
    with pytest.warns(UserWarning, match='random weights'):
        logits_of(student, images, checkpoint=None, **settings)


def test_timm_refuses(student: BaseModel, tmp_path: Path) -> None:
    save_timm(tmp_path, 'test_resnet')
    images, folder = pictures(32, 32), str(tmp_path)
    with pytest.raises(ValueError, match=r'num_classes=7 would give it a random last'):
        logits_of(student, images, timm=folder, options=dict(num_classes=7))
    with pytest.raises(ValueError, match='gives features, not logits'):
        logits_of(student, images, timm=folder, options=dict(num_classes=0))
    with pytest.raises(ValueError, match=r'Did you mean one of .*resnet50'):
        logits_of(student, images, timm='resnet5o', checkpoint=None)
    with pytest.raises(ValueError, match='options.pretrained cannot be set'):
        logits_of(student, images, timm=folder, options=dict(pretrained=True))


def test_a_timm_that_unpickles_is_refused(
    student: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm, '__version__', '1.0.9')
    with pytest.raises(ValueError, match=r'needs timm 1\.0\.27 or newer, but 1\.0\.9'):
        Teacher(timm='test_resnet').load(student)
    with pytest.warns(UserWarning, match='random weights'):
        Teacher(timm='test_resnet', checkpoint=None).load(student)


def test_names_of_imagenet_in_timm(student: BaseModel) -> None:
    teacher = Teacher(timm='test_resnet', checkpoint=None)
    with pytest.warns(UserWarning, match='random weights'):
        teacher.load(student)
    assert teacher.classes[0] == 'tench, Tinca tinca'
    with pytest.raises(ValueError, match="but the student has 2.*'names'"):
        teacher.meet(2, ['Tench', 'goldfish'], 1000, 2)


# Hugging Face


def save_hugging_face(folder: Path, kind: str) -> tuple[Any, Any]:
    """A model of transformers and its image processor in a folder."""
    names = dict(enumerate(['ant', 'bee', 'cat', 'dog', 'emu']))
    labels = dict(id2label=names, label2id={v: k for k, v in names.items()})
    small = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    if kind == 'vit':
        config = transformers.ViTConfig(
            **small, intermediate_size=32, image_size=32, patch_size=8, **labels
        )
        model = transformers.ViTForImageClassification(config)
        processor = transformers.ViTImageProcessor(size={'height': 32, 'width': 32})
    elif kind == 'dinov2':
        config = transformers.Dinov2Config(
            **small, image_size=28, patch_size=14, **labels
        )
        model = transformers.Dinov2ForImageClassification(config)
        processor = transformers.BitImageProcessor(
            do_resize=False, do_center_crop=False
        )
    elif kind == 'segformer':
        config = transformers.SegformerConfig(
            hidden_sizes=[8, 8, 16, 16],
            depths=[1, 1, 1, 1],
            num_attention_heads=[1, 1, 2, 2],
            decoder_hidden_size=16,
            **labels,
        )
        model = transformers.SegformerForSemanticSegmentation(config)
        processor = transformers.SegformerImageProcessor(do_resize=False)
    randomize(model)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


@torch.no_grad()
def hugging_face_logits(both: tuple[Any, Any], images: list[Image.Image]) -> Tensor:
    model, processor = both
    return model(**processor(images=images, return_tensors='pt')).logits


@both_orders
@pytest.mark.parametrize('kind, size', [('vit', (32, 32)), ('dinov2', (56, 42))])
def test_hugging_face(
    kind: str, size: tuple[int, int], student: BaseModel, tmp_path: Path
) -> None:
    both = save_hugging_face(tmp_path, kind)
    images = pictures(*size)
    logits = logits_of(student, images, huggingface=str(tmp_path))
    assert_close(logits, hugging_face_logits(both, images))
    assert logits.std(0).min() > 1e-3


@both_orders
def test_hugging_face_segmentation(student: BaseModel, tmp_path: Path) -> None:
    both = save_hugging_face(tmp_path, 'segformer')
    images = pictures(64, 96)
    teacher = Teacher(huggingface=str(tmp_path))
    teacher.load(student)
    teacher.meet(CLASSES, None, 5, 4)
    logits = teacher(seen_by(student, images))
    assert logits.shape == (2, 5, 16, 24)
    assert_close(logits, hugging_face_logits(both, images))
    assert teacher.classes == ('ant', 'bee', 'cat', 'dog', 'emu')


def test_hugging_face_with_a_file(student: BaseModel, tmp_path: Path) -> None:
    both = save_hugging_face(tmp_path, 'vit')
    images = pictures(32, 32)
    folder, path = str(tmp_path), str(tmp_path / 'model.safetensors')
    logits = logits_of(student, images, huggingface=folder, checkpoint=path)
    assert_close(logits, hugging_face_logits(both, images))


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_hugging_face_refuses(student: BaseModel, tmp_path: Path) -> None:
    images, folder = pictures(32, 32), str(tmp_path)
    with pytest.raises(ValueError, match='a folder without a config.json'):
        logits_of(student, images, huggingface=folder)
    save_hugging_face(tmp_path, 'vit')
    config = tmp_path / 'config.json'
    with pytest.raises(ValueError, match=r"unknown key 'trust_remote_code'"):
        options = dict(trust_remote_code=True)
        logits_of(student, images, huggingface=folder, options=options)
    change_json(config, auto_map={'AutoModelForImageClassification': 'x.Model'})
    with pytest.raises(ValueError, match='asks to run code of its own repository'):
        logits_of(student, images, huggingface=folder)
    change_json(config, auto_map=None, architectures=['Dinov2Model'])
    with pytest.raises(ValueError, match='gives no logits of images: it gives feat'):
        logits_of(student, images, huggingface=folder)
    change_json(config, architectures=['CLIPModel'], text_config={})
    with pytest.raises(ValueError, match='it takes text. For CLIP, use mmpretrain'):
        logits_of(student, images, huggingface=folder)


def test_hugging_face_without_a_part(student: BaseModel, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_hugging_face(tmp_path, 'vit')
    images, folder = pictures(32, 32), str(tmp_path)
    path = tmp_path / 'model.safetensors'
    weights = load_file(path)
    del weights['classifier.weight']
    save_file(weights, path, {'format': 'pt'})
    with pytest.raises(ValueError, match=r'partly random: 1 missing keys: classifier'):
        logits_of(student, images, huggingface=folder)
    torch.save(weights, tmp_path / 'pytorch_model.bin')
    path.unlink()
    with pytest.raises(ValueError, match='must be safetensors'):
        logits_of(student, images, huggingface=folder)


def test_preprocessing_that_nobody_tells(student: BaseModel, tmp_path: Path) -> None:
    both = save_hugging_face(tmp_path, 'vit')
    (tmp_path / 'preprocessor_config.json').unlink()
    images, folder = pictures(32, 32), str(tmp_path)
    with pytest.raises(ValueError, match='does not say how its images are normal'):
        logits_of(student, images, huggingface=folder)
    preprocess = dict(mean=[127.5] * 3, std=[127.5] * 3)
    logits = logits_of(student, images, huggingface=folder, preprocess=preprocess)
    assert_close(logits, hugging_face_logits(both, images))


# torchvision


@pytest.fixture(scope='module')
def of_torchvision(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    model = torchvision.models.squeezenet1_1(num_classes=CLASSES).eval()
    randomize(model)
    model.classifier[1].weight.data /= 10
    path = tmp_path_factory.mktemp('torchvision') / 'squeezenet.pth'
    torch.save(model.state_dict(), path)
    return model, str(path)


@torch.no_grad()
def torchvision_logits(model: Any, images: list[Image.Image]) -> Tensor:
    weights = torchvision.models.get_model_weights('squeezenet1_1').DEFAULT
    size = np.asarray(images[0]).shape[0]
    transform = weights.transforms(crop_size=size, resize_size=size)
    return model(torch.stack([transform(each) for each in images]))


@both_orders
def test_torchvision(student: BaseModel, of_torchvision: tuple[Any, str]) -> None:
    model, path = of_torchvision
    images = pictures(48, 48)
    options = dict(num_classes=CLASSES)
    settings = dict(torchvision='squeezenet1_1', checkpoint=path, options=options)
    logits = logits_of(student, images, **settings)
    assert_close(logits, torchvision_logits(model, images))
    assert logits.std(0).min() > 1e-3


def test_weights_of_torchvision(
    student: BaseModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As they are downloaded, but for the download: the file is in the cache."""
    model = torchvision.models.squeezenet1_1().eval()
    enum = torchvision.models.SqueezeNet1_1_Weights
    cache = tmp_path / 'checkpoints'
    cache.mkdir()
    url = enum.IMAGENET1K_V1.url
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path))
    monkeypatch.setattr('mmkd_logit.checkpoint._sha256_begins_with', lambda *_: True)
    torch.save(model.state_dict(), cache / url.rpartition('/')[2])
    teacher = Teacher(torchvision='squeezenet1_1', weights='IMAGENET1K_V1')
    teacher.load(student)
    images = pictures(64, 64)
    logits = teacher(seen_by(student, images))
    assert_close(logits, torchvision_logits(model, images))
    assert teacher.classes == tuple(enum.IMAGENET1K_V1.meta['categories'])


@both_orders
def test_torchvision_segmentation(student: BaseModel, tmp_path: Path) -> None:
    model = torchvision.models.segmentation.lraspp_mobilenet_v3_large(
        num_classes=CLASSES, weights_backbone=None
    ).eval()
    randomize(model)
    torch.save(model.state_dict(), tmp_path / 'lraspp.pth')
    teacher = Teacher(
        torchvision='lraspp_mobilenet_v3_large',
        checkpoint=str(tmp_path / 'lraspp.pth'),
        options=dict(num_classes=CLASSES),
    )
    teacher.load(student)
    images = pictures(32, 64)
    normalize = torchvision.transforms.Normalize(
        [each / 255 for each in MEAN], [each / 255 for each in STD]
    )
    with torch.no_grad():
        wanted = torch.stack([normalize(as_tensor(each)) for each in images])
        expected = model(wanted)['out']
    assert_close(teacher(seen_by(student, images)), expected)


def test_torchvision_refuses(student: BaseModel) -> None:
    with pytest.raises(ValueError, match='needs either weights'):
        Teacher(torchvision='resnet18')
    with pytest.raises(ValueError, match='needs either weights'):
        Teacher(torchvision='resnet18', weights='IMAGENET1K_V1', checkpoint='x.pth')
    with pytest.raises(ValueError, match="one of 'IMAGENET1K_V1', 'DEFAULT'|V2"):
        Teacher(torchvision='resnet18', weights='IMAGENET').load(student)
    with pytest.raises(ValueError, match=r'no such model.*mean one of .*resnet18'):
        Teacher(torchvision='resnet_18', weights='IMAGENET1K_V1').load(student)
    with pytest.raises(ValueError, match='made for ObjectDetection, but a teacher mus'):
        Teacher(torchvision='retinanet_resnet50_fpn', checkpoint=None).load(student)


# Files


@pytest.fixture(scope='module')
def plain() -> Plain:
    torch.manual_seed(1)
    model = Plain().eval()
    model.norm.running_mean.fill_(0.3)
    return model


PIXELS = dict(mean=MEAN, std=STD)


def save_exported(
    model: nn.Module, path: Path, batch: int | None = None, **size: Any
) -> str:
    images = torch.randn(batch or 2, 3, 16, 16)
    shapes = None if batch else ({0: torch.export.Dim('batch', max=1024)},)
    program = torch.export.export(model, (images,), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return str(path)


def save_onnx(model: nn.Module, path: Path, batch: int | None = None) -> str:
    images = torch.randn(batch or 2, 3, 16, 16)
    shapes = None if batch else ({0: torch.export.Dim('batch', max=1024)},)
    torch.onnx.export(
        model,
        (images,),
        path,
        dynamo=True,
        dynamic_shapes=shapes,
        verbose=False,
        output_names=['scores', 'classes'] if isinstance(model, Wordy) else None,
    )
    return str(path)


HAS_EXPORT = tuple(map(int, torch.__version__.split('.')[:2])) >= (2, 8)
NEEDS_EXPORT = pytest.mark.skipif(
    not HAS_EXPORT, reason='this torch writes programs of another form'
)
FILES = [
    pytest.param('exported', save_exported, '.pt2', id='exported', marks=NEEDS_EXPORT),
    pytest.param('onnx', save_onnx, '.onnx', id='onnx', marks=NEEDS_EXPORT),
]


def normalized(images: list[Image.Image]) -> Tensor:
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (MEAN, STD))
    return torch.stack([(255 * as_tensor(each) - mean) / std for each in images])


@pytest.mark.parametrize('source, save, suffix', FILES)
@pytest.mark.parametrize('batch', [None, 4])
def test_files(
    source: str,
    save: Callable,
    suffix: str,
    batch: int | None,
    student: BaseModel,
    plain: Plain,
    tmp_path: Path,
) -> None:
    path = save(plain, tmp_path / f'teacher{suffix}', batch)
    for count in (1, 6):
        images = pictures(16, 16, count)
        settings = {source: path, 'preprocess': PIXELS}
        logits = logits_of(student, images, **settings)
        with torch.no_grad():
            assert_close(logits, plain(normalized(images)))
    with pytest.raises(ValueError, match='takes images of 16 x 16 pixels'):
        logits_of(student, pictures(20, 16), resize=None, **settings)
    assert logits_of(student, pictures(20, 16), **settings).shape == (2, 5)


@pytest.mark.parametrize('source, save, suffix', FILES)
def test_files_of_several_outputs(
    source: str, save: Callable, suffix: str, student: BaseModel, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    model = Wordy().eval()
    settings = {
        source: save(model, tmp_path / f'teacher{suffix}'),
        'preprocess': PIXELS,
    }
    images = pictures(16, 16)
    with pytest.raises(ValueError, match=r"'scores' \(2, 5\), 'classes' \(2, 5\)"):
        logits_of(student, images, **settings)
    with pytest.raises(ValueError, match="no output 'logits', but 'scores'"):
        logits_of(student, images, output='logits', **settings)
    with pytest.raises(ValueError, match='gives probabilities: its rows sum to 1'):
        logits_of(student, images, output='scores', **settings)
    logits = logits_of(student, images, output='classes', **settings)
    with torch.no_grad():
        assert_close(logits, model(normalized(images))['classes'])


@pytest.mark.parametrize('source, suffix', [('exported', '.pt2'), ('onnx', '.onnx')])
def test_files_that_are_something_else(
    source: str, suffix: str, student: BaseModel, tmp_path: Path
) -> None:
    path = tmp_path / f'teacher{suffix}'
    settings: dict[str, Any] = {source: str(path), 'preprocess': 'student'}
    with pytest.raises(FileNotFoundError, match='does not exist'):
        Teacher(**settings).load(student)
    path.write_bytes(b'no such thing')
    with pytest.raises(ValueError, match=r'cannot be read .*|\(13 bytes\)'):
        Teacher(**settings).load(student)
    torch.save({'weight': torch.ones(3)}, path)
    with pytest.raises(ValueError, match='torch.export.save|ONNX file'):
        Teacher(**settings).load(student)
    with pytest.raises(ValueError, match=f'a file that ends with {suffix}'):
        wrong = path.rename(tmp_path / 'teacher.bin')
        Teacher(**{source: str(wrong), 'preprocess': 'student'}).load(student)
    with pytest.raises(ValueError, match='does not say how its images are norm'):
        Teacher(**{source: str(path)})
    with pytest.raises(ValueError, match=f'teacher.{source} takes no checkpoint'):
        Teacher(checkpoint=None, **settings)


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_torchscript_is_refused(
    student: BaseModel, plain: Plain, tmp_path: Path
) -> None:
    path = tmp_path / 'teacher.pt2'
    torch.jit.trace(plain, torch.randn(1, 3, 16, 16)).save(path)
    with pytest.raises(ValueError, match=r'TorchScript archive, which holds code.*exp'):
        Teacher(exported=str(path), preprocess='student').load(student)


@NEEDS_EXPORT
def test_an_exported_program_in_training_mode(
    student: BaseModel, tmp_path: Path
) -> None:
    path = save_exported(Plain().train(), tmp_path / 'teacher.pt2')
    with pytest.raises(ValueError, match='exported in training mode'):
        Teacher(exported=path, preprocess='student').load(student)


def rewrite(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, each in content.items():
            archive.writestr(name, change(name, each))


@NEEDS_EXPORT
@pytest.mark.parametrize(
    'old, new, said',
    [
        ('torch.ops.aten.relu.default', 'torch.hub.load', "a call of 'torch.hub.load'"),
        ("Symbol('s", "open('s", 'the expression'),
        ('"use_pickle": false', '"use_pickle": true', 'the pickled object'),
    ],
)
def test_an_exported_program_that_would_run_code(
    old: str, new: str, said: str, student: BaseModel, plain: Plain, tmp_path: Path
) -> None:
    path = tmp_path / 'teacher.pt2'
    save_exported(plain, path)
    before = path.read_bytes()
    rewrite(path, lambda name, each: each.replace(old.encode(), new.encode()))
    assert path.read_bytes() != before
    with pytest.raises(ValueError, match=f'{said}.*could run code'):
        Teacher(exported=str(path), preprocess='student').load(student)


@NEEDS_EXPORT
def test_an_exported_program_with_a_library(
    student: BaseModel, plain: Plain, tmp_path: Path
) -> None:
    path = tmp_path / 'teacher.pt2'
    save_exported(plain, path)
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('teacher/data/aotinductor/model/model.so', b'')
    with pytest.raises(ValueError, match=r"holds the file .*model\.so'"):
        Teacher(exported=str(path), preprocess='student').load(student)


@NEEDS_EXPORT
def test_models_that_take_more_than_images(student: BaseModel, tmp_path: Path) -> None:
    class Both(Plain):
        def forward(self, images: Tensor, text: Tensor) -> Tensor:
            return super().forward(images) + text

    inputs = (torch.randn(2, 3, 16, 16), torch.randn(2, CLASSES))
    path = tmp_path / 'teacher.onnx'
    torch.onnx.export(Both().eval(), inputs, path, dynamo=True, verbose=False)
    with pytest.raises(ValueError, match=r'takes images .*, text .*Export it for imag'):
        Teacher(onnx=str(path), preprocess='student').load(student)
    program = torch.export.export(Both().eval(), inputs)
    path = tmp_path / 'teacher.pt2'
    torch.export.save(program, path)
    with pytest.raises(ValueError, match=r'takes images .*, text .*Export it for imag'):
        Teacher(exported=str(path), preprocess='student').load(student)


# Settings


def test_what_does_not_fit_a_source() -> None:
    for settings, match in [
        (
            dict(timm='a', torchvision='b'),
            "one of .* but got timm='a', torchvision='b'",
        ),
        (dict(timm='a', weights='V1'), 'teacher.timm takes no weights'),
        (dict(onnx='a.onnx', preprocess='student', compile=True), 'takes no compile'),
        (dict(timm='a', preprocess='resnet'), "or 'student' to take images"),
        (
            dict(timm='a', preprocess=dict(mean=[0, 0, 0])),
            'needs mean and std together',
        ),
        (
            dict(timm='a', preprocess=dict(mean=[0.5] * 3, std=[0.2] * 3)),
            'for pixels from 0 to 1. Multiply both by 255',
        ),
        (dict(timm='a', preprocess=dict(channels='RGB')), "'rgb' or 'bgr', but got"),
        (dict(timm='a', resize='yes'), "'auto', an integer"),
    ]:
        with pytest.raises(ValueError, match=match):
            Teacher(**settings)
    with pytest.raises(TypeError, match="unknown key 'men'. Did you mean 'mean'"):
        Teacher(timm='a', preprocess=dict(men=1))


def test_explicit_settings_win(
    student: BaseModel, tmp_path: Path, logged: list[str]
) -> None:
    model = save_timm(tmp_path, 'test_resnet')
    preprocess = dict(
        mean=[10.0, 20, 30],
        std=[40.0, 50, 60],
        channels='bgr',
        interpolation='bicubic',
    )
    images = pictures(32, 32)
    teacher = Teacher(timm=str(tmp_path), preprocess=preprocess, resize=(16, 24))
    teacher.load(student)
    pixels = torch.stack([255 * as_tensor(each) for each in images]).flip(1)
    mean, std = torch.tensor([10.0, 20, 30]), torch.tensor([40.0, 50, 60])
    wanted = nn.functional.interpolate(
        (pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1),
        (16, 24),
        mode='bicubic',
        antialias=True,
    )
    lowest, highest = (-mean / std).view(3, 1, 1), ((255 - mean) / std).view(3, 1, 1)
    seen = seen_by(student, images)
    torch.testing.assert_close(
        teacher.prepare(seen), wanted.clamp(lowest, highest), rtol=0, atol=1e-4
    )
    assert any(
        'are BGR, minus (10, 20, 30)' in line and 'resized to 16 x 24' in line
        for line in logged
    )
    teacher = Teacher(timm=str(tmp_path), preprocess='student')
    teacher.load(student)
    assert teacher.prepare(seen) is seen
    with torch.no_grad():
        torch.testing.assert_close(teacher(seen), model(seen))


def test_order_of_channels_that_the_student_does_not_tell(tmp_path: Path) -> None:
    save_timm(tmp_path, 'test_resnet')
    student = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8'),
            # Of CIFAR, whose images are RGB when they are read.
            data_preprocessor=dict(mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7]),
        )
    )
    pixels = torch.rand(1, 3, 8, 8) * 255
    seen = student.data_preprocessor({'inputs': pixels})['inputs']
    settings: dict[str, Any] = dict(timm=str(tmp_path), preprocess={})
    for channels, flipped in [(None, pixels), ('rgb', pixels), ('bgr', pixels.flip(1))]:
        if channels is not None:
            settings['preprocess'] = dict(student_channels=channels)
        teacher = Teacher(**settings)
        teacher.load(student)
        torch.testing.assert_close(
            teacher.prepare(seen), flipped / 127.5 - 1, rtol=0, atol=1e-4
        )


def test_other_libraries_are_imported_when_they_are_used() -> None:
    others = {'onnx', 'onnxruntime', 'safetensors', 'timm', 'transformers'}
    root = Path(mmkd_logit.__file__).parent
    for path in root.rglob('*.py'):
        for line in ast.parse(path.read_text()).body:
            names = [each.name for each in getattr(line, 'names', [])]
            module = getattr(line, 'module', None) or ''
            imported = {each.partition('.')[0] for each in [module, *names]}
            used = isinstance(line, ast.Import | ast.ImportFrom) and imported & others
            assert not used or 'mmkd_logit' in imported, path


def test_a_missing_library_is_named(
    student: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(ImportError, match=r'pip install "mmkd_logit\[timm\]"'):
        Teacher(timm='test_resnet').load(student)


# How it runs


@pytest.fixture(scope='module')
def small(
    tmp_path_factory: pytest.TempPathFactory, plain: Plain, of_torchvision: tuple
) -> dict[str, dict]:
    """A small teacher of each source."""
    folder = tmp_path_factory.mktemp('small')
    save_timm(folder / 'timm', 'test_vit', img_size=32)
    save_hugging_face(folder / 'hf', 'vit')
    found: dict[str, dict] = dict(
        timm=dict(timm=str(folder / 'timm')),
        huggingface=dict(huggingface=str(folder / 'hf')),
        torchvision=dict(
            torchvision='squeezenet1_1',
            checkpoint=of_torchvision[1],
            options=dict(num_classes=CLASSES),
        ),
    )
    for source, save, suffix in [each.values for each in FILES if HAS_EXPORT]:
        path = save(plain, folder / f'teacher{suffix}')
        found[source] = {source: path, 'preprocess': PIXELS}
    return found


EVERY_SOURCE = pytest.mark.parametrize(
    'source',
    ['timm', 'huggingface', 'torchvision']
    + [pytest.param(name, marks=NEEDS_EXPORT) for name in ('exported', 'onnx')],
)


@EVERY_SOURCE
def test_options(source: str, small: dict[str, dict], student: BaseModel) -> None:
    images = pictures(32, 32)
    settings = small[source]
    expected = logits_of(student, images, **settings)
    if source == 'onnx':
        with pytest.raises(ValueError, match='takes no dtype and no channels_last and'):
            Teacher(**settings, dtype='bfloat16', channels_last=True, compile=True)
        return
    narrow = logits_of(student, images, dtype='bfloat16', **settings)
    error = (narrow.float() - expected).norm() / expected.norm()
    assert 0 < error < 0.05
    last = logits_of(student, images, channels_last=True, **settings)
    torch.testing.assert_close(last, expected, rtol=1e-4, atol=1e-4)
    compiled = logits_of(student, images, compile=dict(backend='eager'), **settings)
    torch.testing.assert_close(compiled, expected, rtol=1e-4, atol=1e-4)


@EVERY_SOURCE
def test_a_step(
    source: str, small: dict[str, dict], student: BaseModel, batch: Callable
) -> None:
    """The teacher is in no state, and gives no gradient to anyone."""
    model = MODELS.build(
        dict(
            type='mmkd_logit.LogitDistiller',
            student=dict(
                type='ImageClassifier',
                backbone=dict(type='mmkd_logit.CIFARResNet', arch='resnet8'),
                neck=dict(type='GlobalAveragePooling'),
                head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=64),
                data_preprocessor=dict(mean=MEAN, std=STD, to_rgb=True),
            ),
            teacher=small[source],
            losses=dict(kd=dict(type='KDLoss')),
        )
    )
    model.init_weights()
    before = copy.deepcopy(model.teacher.module.state_dict())
    data = batch() | dict(inputs=torch.randint(256, (4, 3, 32, 32)))
    samples = data['data_samples']
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    model.parse_losses(losses)[0].backward()
    assert losses['loss_kd'] > 0
    assert not any('teacher' in name for name in model.state_dict())
    after = model.teacher.module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    inputs = model.data_preprocessor(data)['inputs']
    found = model.teacher_predictions(inputs, samples)
    expected = model.teacher(inputs).softmax(1)
    torch.testing.assert_close(torch.stack([s.pred_score for s in found]), expected)
    assert copy.deepcopy(model).teacher is model.teacher


# CLIP of mmpretrain


class Letters:
    """A tokenizer whose words are letters."""

    def get_vocab(self) -> dict[str, int]:
        ends = ['<|startoftext|>', '<|endoftext|>']
        return {each: i for i, each in enumerate([*map(chr, range(97, 123)), *ends])}

    def tokenize(self, text: str) -> list[str]:
        return [letter for letter in text if letter.isalpha()]

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [ord(token) - 97 for token in tokens]


@pytest.fixture
def clip(monkeypatch: pytest.MonkeyPatch) -> dict:
    from mmpretrain.registry import MODELS as OF_MMPRETRAIN

    # Without its extra dependencies, of which CLIP needs none but a tokenizer,
    # mmpretrain registers functions that ask for them.
    if not isinstance(OF_MMPRETRAIN.get('CLIPZeroShot'), type):
        for name in ('CLIP', 'CLIPZeroShot'):
            monkeypatch.delitem(OF_MMPRETRAIN.module_dict, name)
        import_module('mmpretrain.models.multimodal.clip')
    layers = dict(width=16, layers=1, heads=2)
    return dict(
        type='CLIPZeroShot',
        vision_backbone=dict(
            type='VisionTransformer',
            arch=dict(
                embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32
            ),
            img_size=32,
            patch_size=8,
            out_type='cls_token',
        ),
        projection=dict(type='CLIPProjection', in_channels=16, out_channels=8),
        text_backbone=dict(type='CLIPTransformer', **layers, attn_mask=None),
        tokenizer=dict(type=Letters),
        vocab_size=28,
        transformer_width=16,
        proj_dim=8,
        context_length=32,
        text_prototype=['ant', 'bee', 'cat', 'dog', 'emu'],
        data_preprocessor=dict(
            type='MultiModalDataPreprocessor', mean=STD, std=MEAN, to_rgb=True
        ),
    )


def test_zero_shot_clip(clip: dict, student: BaseModel, tmp_path: Path) -> None:
    images = pictures(32, 32)
    torch.manual_seed(1)
    plain = MODELS.build(copy.deepcopy(clip)).eval()
    nn.init.normal_(plain.visual.cls_token)
    path = tmp_path / 'clip.pth'
    torch.save(plain.state_dict(), path)
    bgr = np.stack([np.asarray(each)[..., ::-1] for each in images])
    data = {'inputs': torch.from_numpy(bgr.copy()).permute(0, 3, 1, 2)}
    with torch.no_grad():
        scores = plain.predict(plain.data_preprocessor(data)['images'])
    expected = torch.stack([sample.pred_score for sample in scores])

    teacher = Teacher(model=clip, checkpoint=str(path))
    teacher.load(student)
    assert teacher.classes == ('ant', 'bee', 'cat', 'dog', 'emu')
    teacher.meet(CLASSES, None, teacher.module.num_classes, 2)
    logits = teacher(seen_by(student, images))
    assert_close(logits.softmax(1), expected)
    # Logits of cosines, which the temperature of CLIP makes about 14 times as large.
    assert logits.abs().max() > 1
    narrow = Teacher(model=clip, checkpoint=str(path), dtype='bfloat16')
    narrow.load(student)
    given = narrow(seen_by(student, images)).float()
    assert (given - logits).norm() / logits.norm() < 0.05


class ChannelsLast(Plain):
    """Takes images as Keras does."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.float().permute(0, 3, 1, 2))


def save_traced(model: nn.Module, path: Path, images: Tensor) -> str:
    torch.onnx.export(model.eval(), (images,), path, dynamo=False, verbose=False)
    return str(path)


@NEEDS_EXPORT
@pytest.mark.parametrize('dtype', [torch.float32, torch.uint8])
@pytest.mark.filterwarnings('ignore:.*legacy TorchScript-based ONNX')
def test_onnx_of_other_layouts(
    dtype: torch.dtype, plain: Plain, student: BaseModel, tmp_path: Path
) -> None:
    network = ChannelsLast().eval()
    network.load_state_dict(plain.state_dict())
    path = tmp_path / 'keras.onnx'
    pixels = torch.randint(256, (2, 16, 16, 3)).to(dtype)
    save_traced(network, path, pixels)
    raw = dict(mean=[0.0] * 3, std=[1.0] * 3)
    teacher = Teacher(onnx=str(path), preprocess=dict(raw, student_channels='rgb'))
    teacher.load(student)
    mean, std = (getattr(student.data_preprocessor, name) for name in ('mean', 'std'))
    images = (pixels.permute(0, 3, 1, 2).float() - mean) / std
    with torch.no_grad():
        torch.testing.assert_close(
            teacher(images), network(pixels), rtol=1e-4, atol=1e-4
        )
    if dtype == torch.uint8:
        wrong = Teacher(onnx=str(path), preprocess='student')
        wrong.load(student)
        with pytest.raises(ValueError, match='takes pixels from 0 to 255'):
            wrong(torch.randn(2, 3, 16, 16))


@NEEDS_EXPORT
@pytest.mark.filterwarnings('ignore:.*legacy TorchScript-based ONNX')
def test_onnx_of_grey_images(student: BaseModel, tmp_path: Path) -> None:
    path = tmp_path / 'grey.onnx'
    network = nn.Sequential(nn.Conv2d(1, 5, 16), nn.Flatten())
    save_traced(network, path, torch.randn(2, 1, 16, 16))
    teacher = Teacher(onnx=str(path), preprocess='student')
    teacher.load(student)
    with pytest.raises(ValueError, match=r'images of 1 channels, but .* have 3'):
        teacher(torch.randn(2, 3, 16, 16))


def test_images_of_four_channels(tmp_path: Path) -> None:
    timm = pytest.importorskip('timm', reason='timm is not installed')
    preprocessor = dict(mean=[100] * 4, std=[50] * 4, to_rgb=False)
    backbone = dict(type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=4)
    student = MODELS.build(
        dict(
            type='ImageClassifier',
            data_preprocessor=dict(type='ClsDataPreprocessor', **preprocessor),
            backbone=backbone,
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=3, in_channels=64),
        )
    )
    options = dict(num_classes=3, in_chans=4)
    network = timm.create_model('resnet10t', **options).eval()
    torch.save(network.state_dict(), tmp_path / 'four.pth')
    common = dict(timm='resnet10t', checkpoint=str(tmp_path / 'four.pth'))
    common['options'] = options
    images = torch.randn(2, 4, 32, 32)
    teacher = Teacher(**common, preprocess=dict(mean=[90] * 4, std=[40] * 4))
    teacher.load(student)
    with torch.no_grad():
        expected = network((images * 50 + 100 - 90) / 40)
    torch.testing.assert_close(teacher(images), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match='normalizes 3 channels, .* normalizes 4'):
        Teacher(**common).load(student)


def test_a_folder_of_timm_s(student: BaseModel, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text('{"architecture": "resnet18"}')
    with pytest.raises(ValueError, match="of timm, a resnet18: set teacher.timm='"):
        Teacher(huggingface=str(tmp_path)).load(student)
