"""The benchmarks run; what they measure is not for a test."""

from pathlib import Path

import pytest
from command_lines import REPO, run


@pytest.mark.parametrize(
    ('script', 'rows'),
    [
        ('kendall_tau', ['512 x 19', '16 x 200', 'kd_kendall-tau/res34_res18_in1k']),
        ('losses', ['BinaryKL-Norm', 'KD', 'DKD', 'GKL', 'DIST', 'MLKD, batch', 'CWD']),
        ('cifar', ['our step / plain loop', 'data of a batch / our step']),
        ('pixels', ['KDLoss', 'BinaryKLNormLoss']),
        ('mcld', ['100 of float32', '100 of float16']),
        ('gradients', ['dhkd/res34_res18_in1k', 'dhkd/res20_res8_digits']),
        ('stored_logits', ['kd/cifar100/res32x4_res8x4', 'kd/pspnet-r101_pspnet-r18']),
        ('methods', ['ctkd/tv-res34_res18_in1k']),
        ('teachers', ['kd/res34_res18_in1k']),
        ('step', ['dhkd/res34_res18_in1k', 'kd/pspnet-r101_pspnet-r18_cityscapes']),
    ],
)
def test_quick(script: str, rows: list[str], tmp_path: Path) -> None:
    tool = REPO / 'tools' / 'benchmarks' / f'{script}.py'
    wide = {'COLUMNS': '200'}
    result = run('python', tool, '--quick', cwd=tmp_path, env=wide)
    for row in rows:
        assert row in result.stdout
