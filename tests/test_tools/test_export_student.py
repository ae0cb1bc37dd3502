"""The config in a checkpoint is text of a stranger's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from command_lines import call, last_words
from mmengine.config import Config

TOOL = 'model_converters/export_student'
MODEL = dict(
    type='mmkd_logit.LogitDistiller',
    student=dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18)),
    teacher=dict(cache='store'),
)


def save(path: Path, text: str) -> None:
    weights = {'student.fc.weight': torch.ones(2)}
    torch.save({'state_dict': weights, 'meta': {'cfg': text}}, path)


def test_no_text_of_a_checkpoint_becomes_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the tool nor when mmengine reads what it has written."""
    monkeypatch.chdir(tmp_path)
    Path('evil.py').write_text("open('ran', 'w').close()\n")
    code = "__import__('os').system('touch ran')"
    keys = [
        f"a': {code}, 'b",
        f'a": {code}, "b',
        f'a\n{code}\n#',
        f"{{{{$A:'+{code}+'}}}}",
    ]
    text = (
        f'model = {MODEL!r}\n'
        f'extra = {dict.fromkeys(keys, keys)!r}\n'
        "custom_imports = dict(imports=['evil'])\n"
        "_base_ = 'evil.py'\n"
    )
    save(tmp_path / 'some.pth', text)
    call(TOOL, 'some.pth', 'student.pth')
    cfg = Config.fromfile('student.py')
    assert cfg.extra == dict.fromkeys(keys, keys)
    assert cfg.model == MODEL['student']
    assert not Path('ran').exists()


def test_what_is_left_out_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"model = {MODEL!r}\ncustom_imports = dict(imports=['mine'])\n"
    save(tmp_path / 'some.pth', text)
    call(TOOL, tmp_path / 'some.pth', tmp_path / 'student.pth')
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(
        'Left out of the config: custom_imports. Pass the config'
    )


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('import os', 'holds more than plain values: line 1'),
        ("model = dict(type='ResNet')", 'not that of a distillation'),
        (
            f"model = {MODEL!r}\ncustom_hooks = [dict(type='os.system', command='ls')]",
            "sets 'custom_hooks[0].type' to 'os.system'",
        ),
    ],
)
def test_a_config_that_is_refused(text: str, message: str, tmp_path: Path) -> None:
    """The weights are there; the config needs --config."""
    save(tmp_path / 'some.pth', text)
    last = last_words(TOOL, tmp_path / 'some.pth', tmp_path / 'student.pth')
    assert message in last and last.endswith('--config.')
    assert (tmp_path / 'student.pth').is_file()
    assert not (tmp_path / 'student.py').exists()
    own = tmp_path / 'own.py'
    own.write_text(f"model = {MODEL!r}\ncustom_hooks = [dict(type='os.system')]\n")
    call(TOOL, tmp_path / 'some.pth', tmp_path / 'student.pth', '--config', own)
    assert Config.fromfile(tmp_path / 'student.py').custom_hooks[0].type == 'os.system'
