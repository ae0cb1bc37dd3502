"""Export of the plain student beside the distiller's checkpoints."""

from __future__ import annotations

import os
import re
from pathlib import Path

import mmengine
from mmengine.dist import master_only
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner, save_checkpoint

from mmkd_logit.models.distillers import distiller_in
from mmkd_logit.models.distillers.student_checkpoint import student_checkpoint
from mmkd_logit.models.distillers.student_config import student_config
from mmkd_logit.registry import HOOKS


@HOOKS.register_module()
class ExportStudentHook(Hook):
    """Writes the student, without teacher, auxiliary head or optimizer.

    ``student_last.pth`` is written when training ends, ``student_best.pth`` whenever
    the ``CheckpointHook`` saves a best checkpoint (``save_best``); for several metrics
    it is ``student_best_<metric>.pth``. Both go to the work dir, with ``student.py``,
    the config of the plain model that loads them. With an ``EMAHook``, they contain the
    averaged weights.
    """

    # After CheckpointHook has decided, and EMAHook has restored the weights.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._best: dict[str, str] | None = None

    def before_train(self, runner: Runner) -> None:
        """Check the model, and remember the best checkpoints of a resumed run."""
        distiller_in(runner.model, type(self).__name__)
        self._best = _best_checkpoints(runner)
        self._write_config(runner)

    @master_only
    def _write_config(self, runner: Runner) -> None:
        if 'model' not in runner.cfg:  # a Runner can be built without one
            return
        try:
            text = student_config(runner.cfg)
        except Exception as error:  # no reason not to train
            runner.logger.warning(f'student.py was not written: {error}')
            return
        path = Path(runner.work_dir) / 'student.py'
        path.write_text(text, encoding='utf-8')

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Export if this epoch is the best so far."""
        if self._best is None:  # validation without training
            return
        best = _best_checkpoints(runner)
        for key, path in best.items():
            if path != self._best.get(key):
                name = re.sub(r'[^\w.-]', '_', key.replace('best_ckpt', 'student_best'))
                self._export(runner, f'{name}.pth')
        self._best = best

    def after_train(self, runner: Runner) -> None:
        """Export the last weights."""
        self._export(runner, 'student_last.pth')

    @master_only
    def _export(self, runner: Runner, name: str) -> None:
        model = distiller_in(runner.model, type(self).__name__)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                model = hook.ema_model.module
        meta = {
            'epoch': runner.epoch,
            'iter': runner.iter,
            'seed': runner.seed,
            'mmengine_version': mmengine.__version__,
            'dataset_meta': getattr(runner.train_dataloader.dataset, 'metainfo', {}),
        }
        path = os.path.join(runner.work_dir, name)
        save_checkpoint(student_checkpoint(model.state_dict(), meta), path)
        runner.logger.info(f'Saved the plain student to {path}.')


def _best_checkpoints(runner: Runner) -> dict[str, str]:
    """Return the best checkpoints' files, under CheckpointHook's names."""
    info = runner.message_hub.runtime_info
    return {key: info[key] for key in info if key.startswith('best_ckpt')}
