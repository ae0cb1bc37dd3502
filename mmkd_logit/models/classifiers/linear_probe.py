"""A new last layer on the frozen features of a trained classifier."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from mmpretrain.models import ImageClassifier
from torch import nn

from mmkd_logit.checkpoint import load_strictly, read_checkpoint, weights_of
from mmkd_logit.compat import config_from
from mmkd_logit.models.distillers.student_checkpoint import student_weights
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.registry import MODELS
from mmkd_logit.released_names import match_names
from mmkd_logit.rng import side_rng
from mmkd_logit.tasks import find_logit_layer

_REMEDY = (
    'Train the student first, or set model.checkpoint to its file or address, as in '
    '--cfg-options model.checkpoint=<path>: a checkpoint of its run (epoch_240.pth of '
    'a plain network or of a distiller), student_last.pth, student_best.pth, or a '
    'public file of mdistiller or RepDistiller.'
)


@MODELS.register_module()
class LinearProbe(ImageClassifier):
    """Trains a linear classifier on the frozen features of a student.

    The student keeps its weights and batch norm statistics: everything but its last
    layer is always in evaluation mode and gets no gradient. The last layer is replaced
    by a new one, which has torch's default initialization and is trained. Images are
    normalized as for the student.

    The weights of the student are loaded once, when training starts.

    Source: https://arxiv.org/abs/1910.10699, the transfer of representations

    Args:
        config (str): Config of the student, a path or one of a package. In a
            distiller's config, the student is used.
        checkpoint (str): Path or http(s) address of its weights: those of a plain
            run, of a distiller, an exported student, or a public file of mdistiller,
            RepDistiller or torchvision.
        num_classes (int): Number of classes of the new dataset.
        data_preprocessor (dict, optional): Settings that differ from the student's,
            such as ``to_rgb``, which depends on the dataset. Defaults to None.

    Raises:
        FileNotFoundError: If the config does not exist.
        TypeError: If the student is not an ``ImageClassifier`` of mmpretrain with a
            linear last layer.
        ValueError: If the last layer of the student cannot be found.
    """

    def __init__(
        self,
        config: str,
        num_classes: int,
        checkpoint: str | None = None,
        data_preprocessor: dict[str, Any] | None = None,
    ) -> None:
        if checkpoint is None:
            raise ValueError(f'LinearProbe has no checkpoint. {_REMEDY}')
        cfg = config_from(
            config, f'The config of the student, model.config={config!r},'
        )
        model = cfg.model.student if is_distiller(cfg.model) else cfg.model
        model.setdefault('_scope_', cfg.get('default_scope', 'mmengine'))
        own = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        with side_rng():
            student = MODELS.build(model)
        if not isinstance(student, ImageClassifier):
            raise TypeError(
                'LinearProbe needs the config of an ImageClassifier of mmpretrain, but '
                f'{config} has a {type(student).__name__}.'
            )
        name = find_logit_layer(student)
        layer = student.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise TypeError(
                f'LinearProbe needs a student with a linear last layer, but {name} of '
                f'{config} is a {type(layer).__name__}.'
            )
        changed = {**(data_preprocessor or {}), 'num_classes': num_classes}
        super().__init__(
            backbone=student.backbone,
            neck=student.neck,
            head=student.head,
            data_preprocessor={**own, **changed},
        )
        self.requires_grad_(False)
        self.head.num_classes = num_classes
        self.config = config
        self.checkpoint = checkpoint
        self.last_layer = name
        """Name of the layer that is trained, such as ``head.fc``."""
        self._student = model
        parent, _, attribute = name.rpartition('.')
        new = nn.Linear(layer.in_features, num_classes, layer.bias is not None)
        setattr(self.get_submodule(parent), attribute, new)

    def init_weights(self) -> None:
        """Load the weights of the student, which must match exactly.

        Raises:
            FileNotFoundError: If the checkpoint does not exist.
            ValueError: If it cannot be read, or belongs to another network.
        """
        with side_rng():
            student = MODELS.build(self._student)
        weights = weights_of(read_checkpoint(self.checkpoint, _REMEDY), self.checkpoint)
        what = f'student {self.config}: {self.checkpoint}'
        weights = match_names(weights, student.state_dict(), what)
        if any(name.startswith('student.') for name in weights):
            weights = student_weights(weights)
        load_strictly(student, weights, what)
        kept = {
            name: value
            for name, value in student.state_dict().items()
            if not name.startswith(f'{self.last_layer}.')
        }
        self.load_state_dict(kept, strict=False)
        print_log(f'{what}: its features are frozen', logger='current')

    def train(self, mode: bool = True) -> LinearProbe:
        """Keep everything but the last layer in evaluation mode."""
        super().train(False)
        self.training = mode
        self.get_submodule(self.last_layer).train(mode)
        return self
