"""Runs that leave behind what a training leaves, in a moment."""

import json
import sys

import torch

from mmkd_logit.suites import Run

# Logs two epochs, writes a checkpoint after each, and can be told to fail or to wait.
SCRIPT = """
import json, os, sys, time, torch
from pathlib import Path
work_dir, how = Path(sys.argv[1]), sys.argv[2]
logs = work_dir / str(time.time_ns()) / 'vis_data'
logs.mkdir(parents=True)
resumed = sorted(work_dir.glob('epoch_*.pth'))
(logs / 'config.py').write_text(f'resume = {bool(resumed)}\\n')
with (work_dir / 'history').open('a') as history:
    print('resumed' if resumed else 'began', os.environ['OMP_NUM_THREADS'],
          time.monotonic(), file=history)
for epoch in range(len(resumed) + 1, 3):
    with (logs / 'scalars.json').open('a') as file:
        print(json.dumps(dict(loss=1.0, time=0.5, epoch=epoch, iter=10 * epoch,
                              step=10 * epoch)), file=file)
        print(json.dumps({'accuracy/top1': 50.0 + epoch, 'time': 0.1, 'step': epoch}),
              file=file)
    torch.save({'state_dict': {'w': torch.ones(1)}, 'meta': {}, 'message_hub': {}},
               work_dir / f'epoch_{epoch}.pth')
    if how == 'wait' and epoch == 1 and not resumed:
        time.sleep(60)
    if how == 'fail':
        sys.exit('no such thing')
time.sleep(0.6)
with (work_dir / 'history').open('a') as history:
    print('ended', time.monotonic(), file=history)
"""


class ScriptedRun(Run):
    """A run that does in a moment what a training does."""

    how = 'end'

    def command(self, processes: int = 1) -> list[str]:
        return [sys.executable, '-c', SCRIPT, str(self.work_dir), self.how]


def write_run(run: Run, curve: dict[int, float], done: bool = True) -> None:
    """Leave what a run leaves behind."""
    logs = run.work_dir / '1' / 'vis_data'
    logs.mkdir(parents=True)
    lines = [
        {'loss': 1.0, 'time': 0.5, 'epoch': step, 'iter': 10 * step, 'step': 10 * step}
        for step in curve
    ]
    lines += [{'accuracy/top1': v, 'time': 0.1, 'step': s} for s, v in curve.items()]
    (logs / 'scalars.json').write_text(''.join(f'{json.dumps(x)}\n' for x in lines))
    state = {'state_dict': {'w': torch.ones(1)}, 'meta': {}, 'message_hub': {}}
    torch.save(state, run.work_dir / 'epoch_3.pth')
    run.write(done=done, seconds=12.5, commit='abc')
