"""What a finished run proposes, of what is there."""

from pathlib import Path

import pytest

from mmkd_logit.apis import next_steps

TOOLS = Path('tools')
TEST = 'to test it'


def said(*args: object, **settings: object) -> dict[str, str]:
    text = next_steps(TOOLS, *args, **settings)
    return dict(line.split(': ', 1) for line in text.splitlines())


def test_a_student_is_tested_with_its_own_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / 'my run'
    run.mkdir()
    weights, log = run / 'student_last.pth', run / 'a.log'
    before = said('kd.py', weights, log, None)
    assert before[TEST] == "python tools/test.py kd.py 'my run/student_last.pth'"
    (run / 'student.py').touch()
    after = said('kd.py', weights, log, run / 'curves.png', 'kd.py')
    own = "'my run/student.py' 'my run/student_last.pth'"
    assert after == {
        'the student': 'my run/student_last.pth',
        'its log': 'my run/a.log',
        'the picture': 'my run/curves.png',
        TEST: f'python tools/test.py {own}',
        'to run it without torch': 'python tools/model_converters/export_onnx.py '
        f"{own} 'my run/student_last.onnx' --preprocess",
        'to train on several seeds': 'python tools/compare.py --configs kd.py --seeds '
        '0 1 2',
    }
    assert set(after) - set(before) == {'the picture', 'to train on several seeds'}


def test_a_plain_model_keeps_its_config(tmp_path: Path) -> None:
    (tmp_path / 'student.py').touch()  # of another run
    weights = tmp_path / 'epoch_1.pth'
    got = said(tmp_path / 'plain.py', weights, tmp_path / 'a.log', None)
    assert got['the checkpoint'] == str(weights)
    assert got[TEST] == f'python tools/test.py {tmp_path / "plain.py"} {weights}'
