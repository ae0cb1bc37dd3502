"""Multi-perspective Contrastive Logit Distillation (MCLD), as a module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from mmkd_logit.dist import gather_rows, get_world_size
from mmkd_logit.functional import (
    category_contrast_loss,
    instance_contrast_loss,
    sample_contrast_loss,
)
from mmkd_logit.functional._checks import check_positive
from mmkd_logit.functional.contrast import class_sizes
from mmkd_logit.modules.losses.base import LogitLoss
from mmkd_logit.modules.losses.logit_queue import LogitQueue
from mmkd_logit.structures import LogitRows, LogitStrips

# Limit of the default queue size; 262 MB on ImageNet in float32.
_MOST_IMAGES = 65_536


class MCLDLoss(LogitLoss):
    """Contrasts a row's student logits with teacher logits, from three perspectives.

    The sum of :func:`mmkd_logit.functional.instance_contrast_loss`,
    :func:`~mmkd_logit.functional.sample_contrast_loss` and
    :func:`~mmkd_logit.functional.category_contrast_loss`, each of which can be switched
    off. The first compares with a queue of the latest teacher logits, which starts
    empty and is used as it fills. With several processes, the keys of all of them are
    gathered, and all rows have equal weight, with the same result as in one process;
    the log shows the loss of the first process.

    Source: https://arxiv.org/abs/2411.10693. The paper's second version mentions a mask
    of the target class and a warm-up of the category term without giving formulas;
    ``mask_same_class`` is our reading of the former. For the latter, make the category
    term a separate loss, and warm it up with ``LossWeightHook``.

    Args:
        tau (float): Temperature of the three terms, above 0. Defaults to 0.2.
        instance (bool): Whether to include the instance term. Defaults to True.
        sample (bool): Whether to include the sample term. Defaults to True.
        category (bool): Whether to include the category term, which needs one label per
            row. Defaults to True.
        queue_size (int, optional): Number of teacher logits in the queue. Defaults to
            None: the number of training images, or the total that an iteration-based
            loop sees, at most 65536.
        queue_dtype (str): Type in which they are stored, 'float32' or 'float16'.
            Defaults to 'float32'.
        save_queue (bool): Whether checkpoints include the queue, so that a resumed run
            continues with it. Defaults to True.
        mask_own_image (bool): Whether queue entries from a row's own image, known by
            its index in the dataset, are not used as its negatives. Defaults to True.
        mask_same_class (bool): Whether queue entries of a row's own class are not used
            as its negatives. Defaults to False.
        max_rows (int): Maximum number of rows that a process compares. If there are
            more, as with pixels, this many are drawn in every step, as evenly from the
            classes as possible. Defaults to 4096.
        num_classes (int, optional): Number of classes; the distiller fills it in.
            Required with ``instance``. Defaults to None.
        **common: The settings of :class:`LogitLoss`.

    Raises:
        ValueError: If a setting is out of range, or all terms are off; during a step,
            if the rows lack the image indices or labels that the settings need.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LogitRows, MCLDLoss
        >>> loss = MCLDLoss(queue_size=8, num_classes=3)
        >>> logits = torch.tensor([[8.0, 0.0, 0.0], [0.0, 8.0, 8.0]])
        >>> classes, images = torch.tensor([0, 2]), torch.tensor([7, 9])
        >>> rows = LogitRows(logits, logits, labels=classes, image_index=images)
        >>> loss(rows)  # the queue is still empty
        tensor(0.0067)
        >>> loss(rows)  # now the queue holds two rows
        tensor(0.0134)
    """

    gathers = True
    renamed: ClassVar[Mapping[str, str]] = {
        **LogitLoss.renamed,
        'category_warmup_epochs': 'Make the category term a separate loss instead: '
        "mcld=dict(type='MCLDLoss', category=False) and category=dict(type='MCLDLoss', "
        'instance=False, sample=False), and warm it up with '
        "dict(type='mmkd_logit.LossWeightHook', names=['category'], warmup=20).",
    }

    def __init__(
        self,
        tau: float = 0.2,
        instance: bool = True,
        sample: bool = True,
        category: bool = True,
        queue_size: int | None = None,
        queue_dtype: str = 'float32',
        save_queue: bool = True,
        mask_own_image: bool = True,
        mask_same_class: bool = False,
        max_rows: int = 4096,
        num_classes: int | None = None,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_positive('tau', tau)
        if not (instance or sample or category):
            raise ValueError(
                'MCLDLoss needs at least one of instance, sample and category, but all '
                'are off.'
            )
        if max_rows < 1:
            raise ValueError(f'max_rows must be 1 or more, but got {max_rows}.')
        if mask_same_class and not instance:
            raise ValueError(
                'mask_same_class masks entries of the queue, which does not exist with '
                'instance=False.'
            )
        self.tau = tau
        self.sample = sample
        self.category = category
        self.mask_own_image = mask_own_image
        self.mask_same_class = mask_same_class
        self.max_rows = max_rows
        self.needs_labels = self.needs_labels or category or mask_same_class
        self.queue: LogitQueue | None = None
        if instance:
            if num_classes is None:
                raise ValueError('MCLDLoss needs num_classes for its queue.')
            self.queue = LogitQueue(queue_size, num_classes, queue_dtype, save_queue)

    def begin(self, images: int | None) -> str | None:
        """Set the size of the queue, if it has none yet."""
        if self.queue is not None:
            self.queue.allocate(min(images or _MOST_IMAGES, _MOST_IMAGES))
        return None

    def choose(self, rows: LogitRows | LogitStrips) -> LogitRows:
        """Return all rows, or a random ``max_rows`` of them if there are more."""
        if len(rows) <= self.max_rows:
            return rows.whole
        device = rows.source('main').device
        drawn = draw_rows(len(rows), self.max_rows, rows.labels, device)
        return rows.take(drawn)

    def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
        self.begin(None)  # no distiller may have done so
        labels, images = self._labels(rows), self._images(rows)
        (keys, all_labels, all_images), offset = gather_rows(teacher, labels, images)
        assert keys is not None
        # DDP takes the mean over processes; this makes it the mean over all rows.
        share = get_world_size() * len(student) / max(1, len(keys))

        loss = student[:0].sum()
        if self.queue is not None:
            mask = self._queue_mask(labels, images)
            loss = loss + share * instance_contrast_loss(
                student, teacher, self.queue.logits, mask, self.tau
            )
            self.queue.push(keys, all_images, all_labels)
        if self.sample:
            loss = loss + share * sample_contrast_loss(student, keys, self.tau, offset)
        if self.category:
            assert all_labels is not None
            counts = class_sizes(all_labels) > 1
            own = counts[offset : offset + len(student)]
            weight = get_world_size() * own.sum() / counts.sum().clamp(min=1)
            loss = loss + weight * category_contrast_loss(
                student, keys, all_labels, self.tau, offset
            )
        return loss

    def _labels(self, rows: LogitRows) -> Tensor | None:
        if not (self.category or self.mask_same_class):
            return None
        if rows.labels is None:
            raise ValueError(
                'MCLDLoss with category or mask_same_class needs one label per row, '
                'but the data has none, as with mixup, CutMix or multi-label images. '
                'Set category=False and mask_same_class=False, or change the data.'
            )
        return rows.labels

    def _images(self, rows: LogitRows) -> Tensor | None:
        if self.queue is None or not self.mask_own_image:
            return None
        if rows.image_index is None:
            raise ValueError(
                "MCLDLoss masks the queue's entries of a row's own image, but the data "
                'samples have no sample_idx, the index of the image in the dataset. '
                "Add 'sample_idx' to the meta_keys of the transform that packs them "
                '(PackInputs, PackSegInputs), or set mask_own_image=False.'
            )
        return rows.image_index

    def _queue_mask(
        self, labels: Tensor | None, images: Tensor | None
    ) -> Tensor | None:
        """Return which entries of the queue are negatives of each row."""
        assert self.queue is not None
        mask = None
        if images is not None:
            mask = images[:, None] != self.queue.image_index
        if self.mask_same_class:
            assert labels is not None
            others = labels[:, None] != self.queue.labels
            mask = others if mask is None else mask.logical_and_(others)
        return mask


def draw_rows(
    rows: int, most: int, labels: Tensor | None, device: torch.device
) -> Tensor:
    """Draw rows at random, as evenly from the classes as possible.

    Args:
        rows (int): Number of rows.
        most (int): Number of rows to draw, at most ``rows``.
        labels (Tensor, optional): Class of each row, shape (rows,). None: all have
            one class.
        device (torch.device): Where the indices are drawn.

    Returns:
        Tensor: Indices of shape (most,), each at most once.
    """
    order = torch.randperm(rows, device=device)
    if labels is None:
        return order[:most]
    by_class = order[labels[order].argsort(stable=True)]
    classes = labels[by_class]
    place = torch.arange(rows, device=device) - torch.searchsorted(classes, classes)
    # The first row of each class, then the second; ties are broken at random.
    tie = torch.rand(rows, device=device, dtype=torch.float64)
    return by_class[(place + tie).argsort()[:most]]
