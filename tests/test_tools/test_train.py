"""What the arguments of tools/train.py make of a config."""

import importlib.util
from argparse import Namespace

import pytest
from command_lines import CONFIGS, REPO
from mmengine.config import Config


@pytest.mark.parametrize(
    ('plain', 'kind'),
    [
        ('OptimWrapper', 'AmpOptimWrapper'),
        ('mmkd_logit.GradAlignOptimWrapper', 'mmkd_logit.GradAlignAmpOptimWrapper'),
        ('mmkd_logit.DOTOptimWrapper', 'mmkd_logit.DOTAmpOptimWrapper'),
    ],
)
def test_amp(plain: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location('train', REPO / 'tools' / 'train.py')
    assert spec is not None and spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.setattr('mmengine.device.get_device', lambda: 'cuda')
    cfg = Config.fromfile(CONFIGS / 'dhkd' / 'res20_res8_digits.py')
    cfg.optim_wrapper.type = plain
    optimizer = cfg.optim_wrapper.optimizer.copy()
    for _ in range(2):
        tool.apply_args(cfg, Namespace(amp=True, auto_scale_lr=False, resume=None))
        assert cfg.optim_wrapper.type == kind
    assert cfg.optim_wrapper.loss_scale == 'dynamic'
    assert cfg.optim_wrapper.optimizer == optimizer
