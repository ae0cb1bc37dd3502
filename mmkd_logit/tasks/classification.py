"""Classifiers of mmpretrain: one row per image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmkd_logit.structures import LogitRows
from mmkd_logit.tasks.logit_layer import LogitLayer, last_layers, layer_channels
from mmkd_logit.tasks.task import Task, collect, rows_of_teachers, to_device
from mmkd_logit.tasks.unlabelled import admit_unlabelled, has_label

_MULTI_LABEL = 'MultiLabelClsHead'


class ClassificationTask(Task):
    """One label, one feature vector and one row of logits per image."""

    scope = 'mmpretrain'
    metric = 'accuracy/top1'
    feature_ndim = 2

    def __init__(self, student: nn.Module, resolution: str = 'student') -> None:
        super().__init__(student, resolution)
        preprocessor = getattr(student, 'data_preprocessor', None)
        if isinstance(preprocessor, nn.Module):
            admit_unlabelled(preprocessor)

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """Return True: any model of no other task is treated as a classifier."""
        return True

    @classmethod
    def find_logit_layer(cls, model: nn.Module) -> str:
        """Find the one layer in the head with as many outputs as there are classes."""
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
            f'Expected one layer in the head of {type(model).__name__} that outputs '
            f'logits of {num_classes} classes, but found {found or "none"}. Name it in '
            f"the distiller, such as logit_layer='head.fc'. The last layers of the "
            f'model are {last_layers(model)}.'
        )

    @classmethod
    def check_activation(cls, model: nn.Module, who: str) -> None:
        """Refuse multi-label classifiers and regressors of mmpretrain.

        A single-label head that is trained with a binary cross entropy still predicts
        the softmax of its logits, and a multi-label head may be trained with a softmax,
        on the soft labels of mixup: both are accepted.
        """
        head = getattr(model, 'head', None)
        bases = _class_names(head)
        loss = getattr(head, 'loss_module', None)
        if 'RegressionHead' in bases:
            what = 'numbers'
        elif _MULTI_LABEL in bases and getattr(loss, 'use_sigmoid', True):
            what = 'a sigmoid per class'
        else:
            return
        raise ValueError(
            f'{who} has a {type(head).__name__}, which predicts {what}, but the '
            'losses here compare softmaxes over classes that exclude one another. '
            'Use a single-label head such as LinearClsHead: multi-label classifiers '
            'are not supported yet.'
        )

    @classmethod
    def scores(cls, model: Any, inputs: Tensor, data_samples: Any) -> Any:
        """Return the scores in its predictions, or else the softmax of its output."""
        # Multi-label heads also serve to train a softmax on the soft labels of mixup.
        if _MULTI_LABEL not in _class_names(getattr(model, 'head', None)):
            samples = model(inputs, data_samples, mode='predict')
            if isinstance(samples, list) and all('pred_score' in s for s in samples):
                return torch.stack([sample.pred_score for sample in samples])
        output = model(inputs, mode='tensor')
        return output.float().softmax(1) if isinstance(output, Tensor) else output

    @classmethod
    def loader_defaults(cls, loader: dict, pin_memory: bool) -> dict:
        """Return the settings of mmpretrain's own tools, which speed up loading."""
        return dict(
            pin_memory=pin_memory,
            persistent_workers=(loader.get('num_workers') or 0) > 0,
            collate_fn=dict(type='default_collate'),
        )

    def meet_teachers(self, teachers: Sequence[nn.Module]) -> None:
        """Do nothing: their logits need no special treatment."""

    def meet_stored(self, traits: Mapping[str, Any]) -> None:
        """Do nothing: stored logits need no special treatment."""

    def traits(self) -> dict[str, Any]:
        """Return an empty dict: there is nothing to store."""
        return {}

    def run_student(
        self, student: Any, inputs: Tensor, data_samples: Sequence[Any], labels: Any
    ) -> dict[str, Any]:
        """Run the student, and compute its losses on the labelled images only."""
        known = [place for place, s in enumerate(data_samples) if has_label(s)]
        if len(known) == len(data_samples):
            return student.loss(inputs, data_samples)
        if not known:
            student(inputs, data_samples, mode='tensor')
            return {}
        head: Any = getattr(student, 'head', None)
        # Other heads define their own losses, on features of the whole batch.
        loss = getattr(type(head), 'loss', None)
        plain = getattr(loss, '__qualname__', '') == 'ClsHead.loss'
        if not plain or not hasattr(student, 'extract_feat'):
            raise ValueError(
                f'{len(data_samples) - len(known)} of {len(data_samples)} images in '
                f'the batch have no label, but a {type(head).__name__} cannot be '
                'trained on such a batch. Keep labelled and unlabelled images in '
                'separate batches, or use a LinearClsHead.'
            )
        logits = head(student.extract_feat(inputs))
        return head._get_loss(logits[known], [data_samples[i] for i in known])

    def make_rows(
        self,
        student: Tensor,
        teacher: Tensor | Sequence[Tensor | None],
        aux: Tensor | None,
        data_samples: Sequence[Any],
        labels: Any,
        mixed: bool,
    ) -> LogitRows:
        """Make one row per image."""
        hard = None if mixed else collect(data_samples, 'gt_label')
        if hard is not None and any(label.numel() != 1 for label in hard):
            hard = None
        indices = collect(data_samples, 'sample_idx')
        return LogitRows(
            student=student,
            **rows_of_teachers(teacher, lambda logits, place: logits),
            aux=aux,
            labels=None if hard is None else torch.cat(hard).to(student.device),
            image_index=to_device(indices, student.device),
            batch_index=torch.arange(len(student), device=student.device),
        )

    def predictions(
        self,
        student: Any,
        logits: Tensor,
        data_samples: Sequence[Any],
    ) -> list[Any]:
        """Return data samples with the softmax scores and the predicted labels."""
        scores = logits.float().softmax(1)
        for sample, score in zip(data_samples, scores):
            sample.set_pred_score(score).set_pred_label(score.argmax().detach())
        return list(data_samples)


def _class_names(head: Any) -> set[str]:
    """Return the names of a head's classes, which may be those of another scope."""
    return {base.__name__ for base in type(head).__mro__}
