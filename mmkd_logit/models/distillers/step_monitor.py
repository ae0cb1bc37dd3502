"""One-time warnings about steps and runs that cannot learn."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

import torch
from mmengine.logging import MessageHub, print_log
from torch import Tensor
from torch.nn.functional import cross_entropy

from mmkd_logit.structures import LogitRows, LogitStrips

# Steps between measurements of the student's logits, and maximum number of rows.
_INTERVAL = 10
_MOST_ROWS = 4096
# A student has diverged if the norm of its logits exceeds the teacher's by the first
# factor, and its cross entropy exceeds that of guessing by the second.
_TOO_LONG = 10.0
_TOO_WRONG = 2.0
# Images per class in which each class of a segmentor should occur.
_IMAGES_PER_CLASS = 16


class StepMonitor:
    """Watches the logits of each training step.

    Non-finite logits of the teacher end training. Anything that a run may recover from
    is a warning, given once: a step without rows, and student logits that are not
    finite, or wrong and of a norm far above the teacher's. Nothing here waits for the
    student's forward pass on a GPU.

    Args:
        teacher (str): The teacher's name, for messages.
    """

    def __init__(self, teacher: str) -> None:
        self._teacher = teacher
        self._said: set[str] = set()
        self._steps = 0
        self._measured: _Later | None = None
        self._images_seen = 0
        self._classes_seen: Tensor | None = None

    def __deepcopy__(self, memo: dict) -> StepMonitor:
        """Return a new monitor: a copy of the model watches its own steps."""
        return StepMonitor(self._teacher)

    def see_teacher(self, logits: Sequence[Tensor], images: Tensor) -> None:
        """Look at each teacher's logits, before the student's forward pass."""
        total = torch.stack([each.sum(dtype=torch.float32) for each in logits]).sum()
        self._logits, self._sum, self._images = logits, _Later(total), images

    def see_rows(self, rows: LogitRows | LogitStrips) -> None:
        """Look at the rows of the step.

        Raises:
            RuntimeError: If the images or the teacher's logits are not finite.
        """
        # A sum can overflow where every logit is finite.
        if not self._sum.value.isfinite() and not all(
            each.isfinite().all() for each in self._logits
        ):
            bad = [
                i for i, each in enumerate(self._images) if not each.isfinite().all()
            ]
            if bad:
                raise RuntimeError(
                    f'Iteration {_iteration()}: images {bad} of the batch hold values '
                    'that are not finite. Check their files, the pipeline, and the '
                    'mean and std of the data_preprocessor.'
                )
            raise RuntimeError(
                f'{self._teacher} gave logits that are not finite at iteration '
                f'{_iteration()}. The student and its losses are not the cause: check '
                "the teacher's checkpoint, normalization and dtype."
            )
        del self._logits, self._sum, self._images
        if len(rows) == 0:
            self._say_once(
                'no rows',
                'no label of the batch counts, so this step learns nothing. Unless '
                'this is a rare exception, check ignore_index, reduce_zero_label and '
                'the label files.',
            )
        self._watch_student(rows)

    def see_labels(self, rows: LogitRows | LogitStrips, images: int) -> None:
        """Look for classes that no pixel has, as in masks whose foreground is 255."""
        enough = _IMAGES_PER_CLASS * rows.classes
        if rows.labels is None or self._images_seen >= enough:
            return
        if self._classes_seen is None:
            # The last place is for placeholders of images without labels.
            seen = rows.labels.new_zeros(rows.classes + 1, dtype=torch.bool)
            self._classes_seen = seen
        known = (rows.labels >= 0) & (rows.labels < rows.classes)
        self._classes_seen.index_fill_(0, rows.labels.where(known, rows.classes), True)
        self._images_seen += images
        if self._images_seen < enough:
            return
        missing = (~self._classes_seen[:-1]).nonzero().flatten().tolist()
        if missing:
            self._say_once(
                'classes',
                f'no pixel of the first {self._images_seen} images belongs to the '
                f'classes {", ".join(map(str, missing[:10]))} of {rows.classes}. Check '
                'the label files: a value that is ignore_index (255), such as the '
                'foreground of a mask of 0 and 255, is no class, and does not count.',
            )

    def see_resting_head(self) -> None:
        """Say what happens to the auxiliary head in a step without distillation."""
        self._say_once(
            'resting',
            'all distillation losses have weight 0. Until one rises, the auxiliary '
            'head learns nothing, but weight decay shrinks it. To keep it as it is, '
            "set optim_wrapper.paramwise_cfg=dict(custom_keys={'aux_head': dict("
            'decay_mult=0)}).',
        )

    def _watch_student(self, rows: LogitRows | LogitStrips) -> None:
        if self._measured is not None:
            length, of_teacher, entropy = self._measured.value.tolist()
            self._judge(length, of_teacher, entropy, rows.classes)
            self._measured = None
        if self._steps % _INTERVAL == 0 and len(rows) > 0:
            self._measured = _Later(_measure(rows))
        self._steps += 1

    def _judge(
        self, length: float, of_teacher: float, entropy: float, classes: int
    ) -> None:
        remedy = (
            'Lower the learning rate or the loss weights, warm them up, or clip '
            'gradients: optim_wrapper=dict(clip_grad=dict(max_norm=5.0)).'
        )
        guessing = math.log(classes)
        times = length / max(of_teacher, 1.0)
        if not math.isfinite(length):
            self._say_once(
                'not finite', f'logits of the student are not finite. {remedy}'
            )
        elif times > _TOO_LONG and entropy > _TOO_WRONG * guessing:
            self._say_once(
                'diverged',
                f"the norm of the student's logits is {times:.0f} times the teacher's, "
                f'and its cross entropy is {entropy:.1f}, where guessing has '
                f'{guessing:.1f}: the run has probably diverged. {remedy}',
            )

    def _say_once(self, what: str, message: str) -> None:
        if what not in self._said:
            self._said.add(what)
            print_log(
                f'Iteration {_iteration()}: {message}',
                logger='current',
                level=logging.WARNING,
            )


@torch.no_grad()
def _measure(rows: LogitRows | LogitStrips) -> Tensor:
    """Return the mean norm of both logits and the cross entropy, NaN without labels."""
    device = rows.source('main').device
    some = rows.take(torch.arange(min(len(rows), _MOST_ROWS), device=device))
    student, teacher, labels = some.student.float(), some.teacher, some.labels
    entropy = student.new_tensor(math.nan)
    if labels is not None:
        # A label can be a placeholder for none.
        known = (labels >= 0) & (labels < student.shape[1])
        each = cross_entropy(student, labels * known, reduction='none') * known
        entropy = each.sum() / known.sum()
    lengths = [each.float().norm(dim=1).mean() for each in (student, teacher)]
    return torch.stack([*lengths, entropy])


class _Later:
    """A value on its way to the CPU; reading it waits for no later work."""

    def __init__(self, value: Tensor) -> None:
        self._value = value.detach().to('cpu', non_blocking=True)
        self._event = torch.cuda.Event() if value.is_cuda else None
        if self._event is not None:
            self._event.record()

    @property
    def value(self) -> Tensor:
        if self._event is not None:
            self._event.synchronize()
        return self._value


def images_per_epoch(batch: int) -> int | None:
    """Return the number of training images per epoch of this run; None if unknown.

    Args:
        batch (int): Images per step, over all processes.
    """
    info = MessageHub.get_current_instance().runtime_info
    epochs, iterations = info.get('max_epochs'), info.get('max_iters')
    return iterations // epochs * batch if epochs and iterations else None


def forget_stale_losses(logged: Iterable[str]) -> None:
    """Drop losses from the log that only the resumed run had.

    mmengine would repeat their last value forever.

    Args:
        logged (Iterable[str]): Names that this run logs in a step.
    """
    scalars = MessageHub.get_current_instance().log_scalars
    kept = {'train/loss_scale', *(f'train/{name}' for name in logged)}
    begins = ('train/loss_', 'train/task', 'train/kendall_tau')
    stale = [
        key
        for key in scalars
        if (key.startswith(begins) or key.endswith('_temperature')) and key not in kept
    ]
    for key in stale:
        del scalars[key]
    if stale:
        names = ', '.join(key.removeprefix('train/') for key in stale)
        print_log(
            f'This run was resumed from another method: its checkpoint has logged '
            f'{names}, which this config does not have. Weights, optimizer and '
            'epoch are kept, and those losses are dropped from the log. To start a new '
            'run from the weights, set load_from instead of --resume.',
            logger='current',
            level=logging.WARNING,
        )


def _iteration() -> int | None:
    return MessageHub.get_current_instance().runtime_info.get('iter')
