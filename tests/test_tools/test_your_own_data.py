"""The commands of docs/your_own_data.md, in order, on small images and few epochs."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_lines import REPO, run
from mmengine.config import Config

from mmkd_logit.apis import build_model

# What makes it short. All else is as the page has it.
SHORT = {
    'epochs = 40': 'epochs = 2',
    'epoch_40.pth': 'epoch_2.pth',
    'num_workers=4': 'num_workers=0',
    'minimum=80.0': 'minimum=1.0',
    '--seeds 0 1 2': '--seeds 0',
    'size = 224': 'size = 32',
}


def draw_photos(root: Path) -> None:
    """Three classes of one colour each, in noise."""
    noise = np.random.default_rng(0)
    for split, count in (('train', 8), ('val', 2)):
        for channel, name in enumerate(('blue', 'green', 'red')):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                image = noise.integers(0, 100, (40, 48, 3))
                image[..., channel] += 150
                cv2.imwrite(str(folder / f'{i}.jpg'), image.astype(np.uint8))


def accuracy_of(used: str) -> float:
    """That of the predictions of mine/use.py, which begin with the path."""
    pairs = re.findall(r'photos/val/(\w+)/\S+ (\w+)', used)
    return 100 * sum(true == predicted for true, predicted in pairs) / len(pairs)


def top1_of(tested: str) -> float:
    return float(re.findall(r'accuracy/top1: ([\d.]+)', tested)[-1])


def test_the_page_works_from_images_to_predictions(tmp_path: Path) -> None:
    text = (REPO / 'docs' / 'your_own_data.md').read_text()
    for long, short in SHORT.items():
        assert long in text, long
        text = text.replace(long, short)
    draw_photos(tmp_path / 'photos')
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'tools').symlink_to(REPO / 'tools')
    said = []
    for language, block in re.findall(r'^```(\w+)\n(.*?)^```', text, re.M | re.S):
        if language == 'python':
            name = block.splitlines()[0].removeprefix('# ')
            (tmp_path / name).write_text(block)
        elif language == 'bash' and not block.startswith('pip'):
            for command in block.splitlines():
                said.append(run('bash', '-c', command, cwd=tmp_path).stdout)
    assert len(said) == 6
    *_, table, tested, exported, used = said
    assert 'kd' in table and 'written to work_dirs/compare' in table
    of_student = Path('work_dirs/compare/mine/kd/seed0')
    last = dict(line.split(': ', 1) for line in table.splitlines()[-5:])
    assert last['the student'] == str(of_student / 'student_last.pth')
    for name in ('its log', 'the picture'):
        assert (tmp_path / last[name]).is_file()
    # The page takes the plain student's config, the tool that of the run.
    for what in ('to test it', 'to run it without torch'):
        config = tmp_path / last[what].split()[2]
        assert config == tmp_path / of_student / 'kd.py' and config.is_file()
    assert 'accuracy/top1' in tested
    assert '6 test images: they differ by' in exported
    assert used.count('photos/val/') == 6
    assert accuracy_of(used) == pytest.approx(top1_of(tested), abs=1e-3)
    parameters = [
        sum(
            each.numel()
            for each in build_model(Config.fromfile(tmp_path / name)).parameters()
        )
        for name in ('mine/teacher.py', 'mine/student.py')
    ]
    sizes = re.search(r'teacher with ([\d,]+) .* a student with ([\d,]+)', text)
    assert sizes.groups() == tuple(f'{round(each, -3):,}' for each in parameters)
    init = Config.fromfile(
        tmp_path / 'mine' / 'pretrained_teacher.py'
    ).model.backbone.init_cfg
    pair = Config.fromfile(REPO / 'configs' / 'kd' / 'res34_res18_in1k.py')
    assert init.checkpoint == pair.model.teacher.checkpoint
