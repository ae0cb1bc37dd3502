"""A run that was killed and resumed ends where an uninterrupted one ends."""

import os
from pathlib import Path
from signal import SIGINT, SIGKILL

import pytest
from command_lines import CONFIGS, TRAIN, assert_same, attempt, load, run

DHKD = CONFIGS / 'dhkd' / 'res20_res8_digits.py'
MCLD = CONFIGS / 'mcld' / 'res20_res8_digits.py'
EPOCHS = 4
# The 55th of 84 iterations is in the third epoch.
KILL_HOOK = """
import os
import signal

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 55:
            # Processes that a shell starts in the background ignore Ctrl-C.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), int(os.environ['SIGNAL']))
"""
KILLED = """
_base_ = './whole.py'
custom_imports = dict(imports=['kill_hook'])
custom_hooks = [dict(type='KillHook', priority='LOWEST')]
"""
VARIANTS = {
    'mlp with dropout': (
        DHKD,
        "model = dict(aux_head=dict(type='MLPLogitHead', dropout=0.3))",
        SIGKILL,
    ),
    'gradient alignment': (
        DHKD,
        "optim_wrapper = dict(type='mmkd_logit.GradAlignOptimWrapper')",
        SIGKILL,
    ),
    'mcld, by Ctrl-C': (MCLD, '', SIGINT),
}


@pytest.mark.parametrize('variant', VARIANTS)
def test_resume(variant: str, teacher: Path, tmp_path: Path) -> None:
    config, change, signal = VARIANTS[variant]
    (tmp_path / 'whole.py').write_text(f'_base_ = {str(config)!r}\n{change}\n')
    (tmp_path / 'killed.py').write_text(KILLED)
    (tmp_path / 'kill_hook.py').write_text(KILL_HOOK)
    path = [str(tmp_path), os.environ.get('PYTHONPATH')]
    options = (
        '--cfg-options',
        f'train_cfg.max_epochs={EPOCHS}',
        f'model.teacher.checkpoint={teacher}',
        'default_hooks.teacher_check.minimum=0',
        # The learning rate drops before the kill, and after it.
        'param_scheduler.milestones=[2,3]',
    )

    run(*TRAIN, 'whole.py', '--work-dir', 'whole', *options, cwd=tmp_path)
    killed = attempt(
        *(*TRAIN, 'killed.py', '--work-dir', 'parts', *options),
        cwd=tmp_path,
        env={
            'PYTHONPATH': os.pathsep.join(filter(None, path)),
            'SIGNAL': str(int(signal)),
        },
    )
    if signal == SIGINT:
        assert killed.returncode == 130, killed.stdout
        *_, last = killed.stdout.splitlines()
        latest = tmp_path / 'parts' / 'epoch_2.pth'
        said = f'Stopped. The same command with --resume continues from {latest}.'
        assert last == said
    else:
        assert killed.returncode == -signal, killed.stdout
    assert 'the student: ' not in killed.stdout
    assert 'Epoch(train) [3][10/21]' in killed.stdout
    assert not (tmp_path / 'parts' / 'epoch_3.pth').exists()
    resumed = run(
        *(*TRAIN, 'whole.py', '--work-dir', 'parts', '--resume', *options),
        cwd=tmp_path,
    )
    assert 'resumed epoch: 2' in resumed.stdout
    assert 'Epoch(train) [2]' not in resumed.stdout

    whole, parts = (
        load(tmp_path / name / f'epoch_{EPOCHS}.pth') for name in ('whole', 'parts')
    )
    for part in ('state_dict', 'optimizer', 'param_schedulers'):
        assert_same(parts[part], whole[part])
    assert whole['optimizer']['param_groups'][0]['lr'] == pytest.approx(5e-4)
    assert_same(
        *(
            load(tmp_path / name / 'student_last.pth')['state_dict']
            for name in ('parts', 'whole')
        )
    )
