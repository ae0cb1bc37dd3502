"""The benchmarks run; what they measure is not for a test."""

import json
from pathlib import Path

import pytest
import torch
from command_lines import CONFIGS, REPO, call, last_words, run
from mmengine.config import Config

from mmkd_logit.registry import MODELS


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
        ('suite', ['stored / live']),
        ('step', ['dhkd/res34_res18_in1k', 'kd/pspnet-r101_pspnet-r18_cityscapes']),
    ],
)
def test_quick(script: str, rows: list[str], tmp_path: Path) -> None:
    tool = REPO / 'tools' / 'benchmarks' / f'{script}.py'
    wide = {'COLUMNS': '200'}
    result = run('python', tool, '--quick', cwd=tmp_path, env=wide)
    for row in rows:
        assert row in result.stdout


def test_latency(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO / 'tools' / 'benchmarks'))
    threads = torch.get_num_threads()
    config, out = CONFIGS / 'dhkd' / 'res20_res8w8_digitpairs.py', tmp_path / 'a.json'
    settings = ('--shape', '8', '16', '--rounds', '2', '--batches', '1', '3')
    call('benchmarks/latency', config, out, *settings, '--threads', str(threads))

    found = json.loads(out.read_text())
    cfg = Config.fromfile(config)
    student = MODELS.build(cfg.model.student)
    parameters = sum(each.numel() for each in student.parameters())
    assert found['models']['student']['parameters'] == parameters
    # The file holds the weights in float32, and little else.
    size = found['models']['student']['bytes']
    assert 4 * parameters < size < 4 * parameters + 150_000
    assert found['models']['teacher']['bytes'] > size
    measured = [(each['batch'], each['engine']) for each in found['latency']]
    engines = ('torch', 'onnxruntime')
    assert measured == [(batch, engine) for batch in (1, 3) for engine in engines]
    for each in found['latency']:
        low, high = each['ratio_quartiles']
        assert 0 < low <= each['ratio'] <= high
    head, _, *rows = out.with_suffix('.md').read_text().splitlines()
    assert head == '|  | teacher | student | student / teacher |'
    assert [row.split(' | ')[0] for row in rows] == [
        '| parameters, M',
        '| ONNX file, MiB',
        '| 1 image, PyTorch, ms',
        '| 1 image, onnxruntime, ms',
        '| 3 images, PyTorch, ms',
        '| 3 images, onnxruntime, ms',
    ]
    plain = CONFIGS / 'baseline' / 'res8w8_digitpairs.py'
    said = last_words('benchmarks/latency', plain, tmp_path / 'b.json', *settings)
    assert 'must be the config of a distiller' in said
