"""What a finished run proposes, of what is there."""

from pathlib import Path

import pytest

from mmkd_logit.apis import next_steps

TOOLS = Path('tools')


def said(*args: object, **settings: object) -> dict[str, str]:
    text = next_steps(TOOLS, *args, **settings)
    return dict(line.split(': ', 1) for line in text.splitlines())


def test_of_a_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / 'my run'
    config, weights = run / 'kd.py', run / 'student_last.pth'
    metrics = {'accuracy/top1': 71.5, 'accuracy/top5': 99}
    more = said(config, weights, run / 'a.log', run / 'curves.png', 'kd.py', metrics)
    parts = "'my run/kd.py' 'my run/student_last.pth'"
    assert more == {
        'the student': 'my run/student_last.pth',
        'its last validation': 'accuracy/top1 71.50, accuracy/top5 99.00',
        'its log': 'my run/a.log',
        'the picture': 'my run/curves.png',
        'to test it': f'python tools/test.py {parts}',
        'to run it without torch': 'python tools/model_converters/export_onnx.py '
        f"{parts} 'my run/student_last.onnx' --preprocess",
        'to train on several seeds': 'python tools/compare.py --configs kd.py --seeds '
        '0 1 2',
    }
    less = said(config, weights, run / 'a.log', None)
    assert set(more) - set(less) == {
        'its last validation',
        'the picture',
        'to train on several seeds',
    }


def test_of_a_plain_model_elsewhere(tmp_path: Path) -> None:
    weights = tmp_path / 'epoch_1.pth'
    got = said(tmp_path / 'plain.py', weights, tmp_path / 'a.log', None)
    assert got['the checkpoint'] == str(weights)
    command = f'python tools/test.py {tmp_path / "plain.py"} {weights}'
    assert got['to test it'] == command
