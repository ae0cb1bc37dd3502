"""Models of mmpretrain, mmseg and this package, built from their configs."""

from __future__ import annotations

import copy

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmkd_logit.checkpoint import (
    class_names,
    load_strictly,
    read_checkpoint,
    weights_of,
)
from mmkd_logit.compat import config_from
from mmkd_logit.dist import first_process_first
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.models.teachers.sources.source import Found, LogitModel, Request
from mmkd_logit.registry import MODELS
from mmkd_logit.released_names import match_names
from mmkd_logit.tasks import refuse_detector


def build(request: Request) -> Found:
    """Build a model of a toolbox.

    Args:
        request (Request): ``what`` is a config, as a path or as 'package::path', or the
            config of the model alone, a dict.

    Returns:
        Found: The model, its data preprocessor if its config has one, and the class
        names in its checkpoint.

    Raises:
        FileNotFoundError: If the config or the checkpoint does not exist.
        ValueError: If the checkpoint cannot be read or does not fit the model.
    """
    model = model_config(request.what)
    refuse_detector(model, request.who)
    module, names = MODELS.build(model), None
    if request.checkpoint is not None:
        checkpoint = read_checkpoint(
            request.checkpoint,
            'Train the teacher first, or set teacher.checkpoint to its file or '
            'address.',
        )
        what = f'{request.who}: {request.checkpoint}'
        weights = weights_of(checkpoint, request.checkpoint)
        weights = match_names(weights, module.state_dict(), what)
        load_strictly(module, weights, what)
        names = class_names(checkpoint)
        print_log(f'{request.who}: weights of {request.checkpoint}', logger='current')
    preprocessor = module.data_preprocessor if 'data_preprocessor' in model else None
    if hasattr(module, 'prepare_text_prototype'):
        names = tuple(map(str, module.prototype))
        module = LogitModel(_ZeroShot(module, request.device), request.who, len(names))
    return Found(module, data_preprocessor=preprocessor, classes=names)


def model_config(what: str | dict) -> dict:
    """Return the complete config of a teacher's model.

    Args:
        what (str | dict): A config, as a path or as 'package::path', or the config of
            the model alone.

    Returns:
        dict: A copy. For a distiller, the config of its student.

    Raises:
        FileNotFoundError: If the config does not exist.
    """
    if not isinstance(what, str):
        return copy.deepcopy(what)
    cfg = config_from(what, f'The config of the teacher, teacher.config={what!r},')
    model = cfg.model
    if is_distiller(model):
        model = model.student
    model.setdefault('_scope_', cfg.get('default_scope', 'mmengine'))
    if cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', cfg.data_preprocessor)
    return model


class _ZeroShot(nn.Module):
    """Logits of mmpretrain's zero-shot CLIP, whose own forward returns probabilities.

    The embeddings of the class names are computed once.
    """

    def __init__(self, model: BaseModel, device: torch.device) -> None:
        super().__init__()
        model.eval()
        with torch.no_grad(), first_process_first():
            model.to(device).prepare_text_prototype(device)
            scale = model.logit_scale.exp()
        self.visual, self.visual_proj = model.visual, model.visual_proj
        self.register_buffer('classifier', model.text_prototype_embeds * scale)

    def forward(self, images: Tensor) -> Tensor:
        features = self.visual_proj(self.visual(images))[0]
        return features / features.norm(dim=-1, keepdim=True) @ self.classifier
