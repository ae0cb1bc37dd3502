from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import init_default_scope

from mmkd_logit.apis import load_weights, predict_models
from mmkd_logit.arguments import add_samples_argument
from mmkd_logit.datasets import Digits
from mmkd_logit.models.distillers.predictions import sample_indices
from mmkd_logit.registry import MODELS

CONFIGS = Path(__file__).parents[2] / 'configs'
PLAIN = str(CONFIGS / 'baseline' / 'res8_digits.py')
DHKD = str(CONFIGS / 'dhkd' / 'res20_res8_digits.py')


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    path = tmp_path / 'student.pth'
    torch.save(
        {'state_dict': MODELS.build(Config.fromfile(PLAIN).model).state_dict()}, path
    )
    return str(path)


@pytest.fixture
def five(tmp_path: Path, checkpoint: str) -> tuple[str, str]:
    """Config and checkpoint of a model of five classes."""
    config, path = tmp_path / 'five.py', tmp_path / 'five.pth'
    config.write_text(f'_base_ = {PLAIN!r}\nmodel = dict(head=dict(num_classes=5))\n')
    torch.save(MODELS.build(Config.fromfile(config).model).state_dict(), path)
    return str(config), str(path)


def test_a_student_says_the_same_in_a_distiller(checkpoint: str) -> None:
    models = [('a', PLAIN, checkpoint), ('b', DHKD, checkpoint)]
    found, names = predict_models(models, samples=40)
    assert list(found) == ['a', 'b']
    assert torch.equal(found['a'].logits, found['b'].logits)
    assert found['a'].features.shape == (40, 64)
    assert names == tuple('0123456789')


def test_the_teacher_of_a_distiller(tmp_path: Path, checkpoint: str) -> None:
    config = tmp_path / 'self.py'
    # It is asked live, not its stored logits of training images.
    teacher = dict(config=PLAIN, checkpoint=checkpoint, cache='none')
    config.write_text(f'_base_ = {DHKD!r}\nmodel = dict(teacher={teacher!r})\n')
    models = [('a', PLAIN, checkpoint), ('b', str(config), 'teacher')]
    found, _ = predict_models(models, samples=40)
    torch.testing.assert_close(found['b'].logits, found['a'].logits)
    assert torch.equal(found['b'].labels, found['a'].labels)
    with pytest.raises(ValueError, match='The features of b are needed'):
        predict_models(models, samples=40, features=True)
    with pytest.raises(ValueError, match='asks for the teacher of .* has none'):
        predict_models([('a', PLAIN, 'teacher')], samples=40)


def test_a_teacher_of_another_library(tmp_path: Path, checkpoint: str) -> None:
    timm = pytest.importorskip('timm', reason='timm is not installed')
    options = dict(num_classes=10, in_chans=1)
    network = timm.create_model('test_resnet', **options).eval()
    torch.nn.init.normal_(network.get_classifier().weight)
    torch.save(network.state_dict(), tmp_path / 'timm.pth')
    teacher = dict(
        _delete_=True,
        timm='test_resnet',
        checkpoint=str(tmp_path / 'timm.pth'),
        options=options,
        preprocess='student',
    )
    config = tmp_path / 'timm.py'
    config.write_text(f'_base_ = {DHKD!r}\nmodel = dict(teacher={teacher!r})\n')
    models = [('a', PLAIN, checkpoint), ('b', str(config), 'teacher')]
    found, _ = predict_models(models, samples=40)
    digits = Digits('test')
    images = [digits[i]['img'] for i in sample_indices(len(digits), 40)]
    inputs = (torch.tensor(np.stack(images)).float().permute(0, 3, 1, 2) - 78) / 96
    with torch.no_grad():
        expected = network(inputs)
    torch.testing.assert_close(found['b'].logits, expected)
    assert len(expected.unique(dim=0)) == 40


def test_chosen_classes(checkpoint: str) -> None:
    models = [('a', PLAIN, checkpoint)]
    found, _ = predict_models(models, samples=1000, classes=[3, 5])
    labels = [int(label) for label in Digits('test').get_gt_labels()]
    expected = [label for label in labels if label in (3, 5)]
    assert found['a'].labels.tolist() == expected
    with pytest.raises(ValueError, match='2 or more images are needed, but got 0'):
        predict_models(models, samples=1000, classes=[11])


def test_bad_models(checkpoint: str, five: tuple[str, str]) -> None:
    one = ('a', PLAIN, checkpoint)
    with pytest.raises(ValueError, match=r"its own label, but got \['a', 'a'\]"):
        predict_models([one, one], samples=4)
    with pytest.raises(ValueError, match='2 or more --model are needed, the teacher'):
        predict_models([one], samples=4, least=2)
    with pytest.raises(FileNotFoundError, match=r"Checkpoint 'no.pth' does not exist"):
        predict_models([('b', PLAIN, 'no.pth')], samples=4)
    with pytest.raises(ValueError, match='b: .*five.pth does not fit the model'):
        predict_models([('b', PLAIN, five[1])], samples=4)
    with pytest.raises(ValueError, match='a has 10 classes, but b has 5'):
        predict_models([one, ('b', *five)], samples=4)
    with pytest.raises(ValueError, match='got 1. Increase --samples'):
        predict_models([one], samples=1)


def test_other_images(checkpoint: str, tmp_path: Path) -> None:
    config = tmp_path / 'train.py'
    config.write_text(
        f"_base_ = {PLAIN!r}\nval_dataloader = dict(dataset=dict(split='train'))\n"
    )
    models = [('a', PLAIN, checkpoint), ('b', str(config), checkpoint)]
    with pytest.raises(ValueError, match='validation sets of a and b differ'):
        predict_models(models, samples=40)


def test_a_segmentor(tmp_path: Path) -> None:
    config = CONFIGS / 'baseline' / 'fcn-r18w8_scenes.py'
    path = tmp_path / 'any.pth'
    init_default_scope('mmseg')
    torch.save(MODELS.build(Config.fromfile(config).model).state_dict(), path)
    with pytest.raises(TypeError, match='fcn needs a classifier, with one prediction'):
        predict_models([('fcn', str(config), str(path))], samples=4)


def test_a_checkpoint_that_fits_only_in_part(checkpoint: str, tmp_path: Path) -> None:
    """Surplus weights are refused: a larger network would be tested in part."""
    weights = torch.load(checkpoint)['state_dict']
    plain, distiller = (MODELS.build(Config.fromfile(p).model) for p in (PLAIN, DHKD))
    student = {f'student.{name}': value for name, value in weights.items()}
    own = {'aux_head.fc.weight': torch.zeros(1), 'losses.x.queue.pushed': torch.ones(1)}
    surplus = {'backbone.layer4.weight': torch.zeros(1)}
    path = str(tmp_path / 'other.pth')

    def load(model: BaseModel, *parts: dict) -> None:
        torch.save(
            {'state_dict': {k: v for part in parts for k, v in part.items()}}, path
        )
        load_weights(model, path)

    load(plain, weights)
    load(distiller, weights)
    load(distiller, student)
    load(distiller, student, own)  # of another method on the same student
    assert torch.equal(distiller.student.head.fc.weight, weights['head.fc.weight'])
    in_file_only = r'1 in the file only: backbone.layer4.weight'
    with pytest.raises(ValueError, match=in_file_only):
        load(plain, weights, surplus)
    with pytest.raises(ValueError, match=in_file_only):
        load(distiller, {f'student.{k}': v for k, v in surplus.items()}, student, own)
    with pytest.raises(ValueError, match=r'1 in the file only: other.weight'):
        load(distiller, student, {'other.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match=r'Export its student with tools/model_conv'):
        load(plain, student)


@pytest.mark.parametrize('text', ['-5', '1', '2.5', 'all'])
def test_samples_must_be_two_or_more(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = argparse.ArgumentParser()
    add_samples_argument(parser, 100)
    assert parser.parse_args([]).samples == 100
    with pytest.raises(SystemExit):
        parser.parse_args([f'--samples={text}'])
    assert f"an integer of 2 or more, but got '{text}'" in capsys.readouterr().err
