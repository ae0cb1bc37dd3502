"""What tools/model_converters/import_checkpoint.py writes and refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from command_lines import REPO, call, load
from mmengine.config import Config
from released_networks import NETWORKS, released_weights

from mmkd_logit.registry import MODELS

Import = Callable[..., None]


@pytest.fixture
def import_checkpoint() -> Import:
    return partial(call, 'model_converters/import_checkpoint')


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Config of a resnet8 for CIFAR-100."""
    path = tmp_path / 'config.py'
    contents = dict(
        default_scope='mmpretrain',
        model=NETWORKS['resnet8'].config(100),
        train_dataloader=dict(dataset=dict(type='CIFAR100', data_root='nowhere')),
    )
    Config(contents).dump(path)
    return path


@pytest.fixture
def released(tmp_path: Path) -> Path:
    path = tmp_path / 'ckpt_epoch_240.pth'
    torch.save({'model': released_weights('resnet8')}, path)
    return path


def test_a_released_file_becomes_one_of_mmpretrain(
    import_checkpoint: Import,
    config: Path,
    released: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / 'resnet8.pth'
    import_checkpoint(config, released, out)
    said = capsys.readouterr().out
    assert f'56 tensors and 100 class names are in {out}.' in said
    written = load(out)
    assert written['meta']['dataset_meta']['classes'][0] == 'apple'
    weights = written['state_dict']
    MODELS.build(NETWORKS['resnet8'].config(100)).load_state_dict(weights)
    expected = released_weights('resnet8')
    for old, new in (
        ('fc.weight', 'head.fc.weight'),
        ('layer1.0.bn1.bias', 'backbone.layer1.0.bn1.bias'),
    ):
        assert torch.equal(weights[new], expected[old].float())


def test_torchvision_with_a_config_of_mmpretrain(
    import_checkpoint: Import, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    weights = torchvision.models.resnet18().state_dict()
    released, out = tmp_path / 'resnet18-f37072fd.pth', tmp_path / 'out.pth'
    torch.save(weights, released)
    import_checkpoint('mmpretrain::resnet/resnet18_8xb32_in1k.py', released, out)
    assert '122 tensors and 1000 class names' in capsys.readouterr().out
    written = load(out)['state_dict']
    assert torch.equal(written['head.fc.bias'], weights['fc.bias'])


def test_without_class_names(
    import_checkpoint: Import,
    config: Path,
    released: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    cfg = Config.fromfile(config)
    cfg.train_dataloader = None
    cfg.dump(config)
    import_checkpoint(config, released, tmp_path / 'out.pth')
    assert '56 tensors and no class names are in' in capsys.readouterr().out
    assert 'dataset_meta' not in load(tmp_path / 'out.pth')['meta']


def test_nothing_is_overwritten(
    import_checkpoint: Import,
    config: Path,
    released: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    before = released.read_bytes()
    for out, message in (
        (released, 'exists: remove it, or choose another name'),
        (tmp_path, 'exists: remove it, or choose another name'),
        (tmp_path / 'no' / 'out.pth', 'does not exist'),
    ):
        with pytest.raises(SystemExit):
            import_checkpoint(config, released, out)
        assert message in capsys.readouterr().err
    assert released.read_bytes() == before


def test_what_cannot_be_imported(
    import_checkpoint: Import,
    config: Path,
    released: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / 'out.pth'
    with pytest.raises(FileNotFoundError, match=r"The config 'no.py' cannot be read"):
        import_checkpoint('no.py', released, out)
    with pytest.raises(FileNotFoundError, match=r"Checkpoint 'no.pth' does not exist"):
        import_checkpoint(config, 'no.pth', out)
    torch.save(released_weights('wrn_16_1'), released)
    with pytest.raises(ValueError, match='It looks like wrn_16_1, with 100 classes'):
        import_checkpoint(config, released, out)
    distiller = REPO / 'configs' / 'dhkd' / 'res20_res8_digits.py'
    with pytest.raises(SystemExit):
        import_checkpoint(distiller, released, out)
    assert "is a distiller's; name that of a plain model" in capsys.readouterr().err
    assert not out.exists()
