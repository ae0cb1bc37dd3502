"""mmpretrain's classifiers: a row is an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks.logit_layer import LogitLayer, last_layers, layer_channels
from mmkd_logit.tasks.task import Task, collect, to_device


class ClassificationTask(Task):
    """One label, one feature vector and one row of logits an image."""

    scope = 'mmpretrain'
    metric = 'accuracy/top1'
    feature_ndim = 2

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """Whatever is not of another task is taken for a classifier."""
        return True

    @classmethod
    def find_logit_layer(cls, model: nn.Module) -> str:
        """The one layer in the head with as many outputs as the head has classes."""
        head = getattr(model, 'head', None)
        num_classes = getattr(head, 'num_classes', None)
        found = (
            []
            if head is None or num_classes is None
            else [
                f'head.{path}'
                for path, layer in head.named_modules()
                if isinstance(layer, LogitLayer)
                and layer_channels(layer)[1] == num_classes
            ]
        )
        if len(found) == 1:
            return found[0]
        raise ValueError(
            f'Expected one layer in the head of {type(model).__name__} that gives the '
            f'logits of {num_classes} classes, but found {found or "none"}. Name it in '
            f"the distiller, as logit_layer='head.fc'. The last layers of the model "
            f'are {last_layers(model)}.'
        )

    @classmethod
    def loader_defaults(cls, loader: dict, pin_memory: bool) -> dict:
        """As mmpretrain's own tools do; it makes loading faster."""
        return dict(
            pin_memory=pin_memory,
            persistent_workers=(loader.get('num_workers') or 0) > 0,
            collate_fn=dict(type='default_collate'),
        )

    def make_rows(
        self,
        student: Tensor,
        teacher: Tensor,
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Any,
        mixed: bool,
    ) -> LogitRows:
        """One row an image."""
        hard = None if mixed else collect(data_samples, 'gt_label')
        if hard is not None and any(label.numel() != 1 for label in hard):
            hard = None
        indices = collect(data_samples, 'sample_idx')
        return LogitRows(
            student=student,
            teacher=teacher,
            aux=aux,
            labels=None if hard is None else torch.cat(hard).to(student.device),
            image_index=to_device(indices, student.device),
            batch_index=torch.arange(len(student), device=student.device),
        )

    def predictions(
        self,
        student: Any,
        logits: Tensor,
        inputs: Tensor,
        data_samples: Sequence[Any],
    ) -> list[Any]:
        """Scores and labels of the softmax."""
        scores = logits.float().softmax(1)
        for sample, score in zip(data_samples, scores):
            sample.set_pred_score(score).set_pred_label(score.argmax().detach())
        return list(data_samples)
