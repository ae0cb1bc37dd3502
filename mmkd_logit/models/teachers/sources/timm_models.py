"""Classifiers of timm."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmkd_logit.dist import first_process_first
from mmkd_logit.models.teachers.preprocessing import Preprocessing, Size
from mmkd_logit.models.teachers.sources.source import (
    Found,
    LogitModel,
    Request,
    check_options,
    import_extra,
    load_file,
)

# The first release that never unpickles more than weights.
_SAFE = (1, 0, 27)
_REFUSED = {
    'pretrained': 'without teacher.checkpoint the weights are those of timm.',
    'checkpoint_path': 'name the file in teacher.checkpoint.',
    'features_only': 'a teacher must give logits.',
}


def build(request: Request) -> Found:
    """Build a model of timm.

    Args:
        request (Request): ``what`` is a name, such as 'resnet50.a1_in1k', an address on
            the Hugging Face hub, as 'hf_hub:<user>/<name>', or a folder in timm's own
            format, with config.json and model.safetensors. ``options`` go to
            ``timm.create_model``.

    Returns:
        Found: The model, the preprocessing in its ``pretrained_cfg``, and the names of
        its classes if known, such as ImageNet's.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If there is no such model, no weights fit it, or it has no classes.
    """
    timm = import_extra('timm', 'timm', request.who)
    check_options(request, _REFUSED)
    version = tuple(map(int, re.findall(r'\d+', timm.__version__)[:3]))
    if request.pretrained and version < _SAFE:
        raise ValueError(
            f'{request.who} needs timm {".".join(map(str, _SAFE))} or newer, but '
            f'{timm.__version__} is installed, which reads pickled weights in a way '
            'that could run code. Update timm, or set teacher.checkpoint.'
        )
    name, options = request.what, dict(request.options)
    if Path(name).expanduser().is_dir():
        name = f'local-dir:{Path(name).expanduser()}'
    with first_process_first():
        network = _create(timm, name, request, options)
    config = network.pretrained_cfg
    classes = network.num_classes
    told = config.get('num_classes', classes)
    if request.pretrained and classes not in (0, told):
        raise ValueError(
            f'{request.who} was trained on {told} classes, so '
            f'teacher.options.num_classes={classes} would give it a random last layer. '
            'Remove that and set teacher.class_map, or set teacher.checkpoint.'
        )
    if classes == 0:
        raise ValueError(
            f'{request.who} has num_classes=0: it gives features, not logits. Use a '
            'model trained for classification, or set teacher.checkpoint to one, with '
            'teacher.options=dict(num_classes=...).'
        )
    if request.checkpoint is not None:
        load_file(network, request)
    data = timm.data.resolve_data_config({}, model=network)
    size = _only_size(network, data['input_size'][1:])
    usual = {'bilinear', 'nearest'}
    return Found(
        LogitModel(network, request.who, classes, request.output, size),
        Preprocessing(
            mean=tuple(255 * each for each in data['mean']),
            std=tuple(255 * each for each in data['std']),
            # A student's images are seldom enlarged much, so bicubic is close to
            # timm's 'lanczos', and it is one of the choices of 'random'.
            interpolation=data['interpolation']
            if data['interpolation'] in usual
            else 'bicubic',
            told_by="timm's pretrained_cfg",
        ),
        _class_names(timm, config, classes),
    )


def _create(timm: Any, name: str, request: Request, options: dict) -> Any:
    try:
        return timm.create_model(name, pretrained=request.pretrained, **options)
    except Exception as error:  # from the hub, from files, or from the model
        plain = name.partition('.')[0]
        close = get_close_matches(plain, timm.list_models(), n=3)
        unknown = ':' not in name and not timm.is_model(plain)
        hint = f' Did you mean one of {", ".join(close)}?' if unknown and close else ''
        raise ValueError(
            f'{request.who} cannot be built by timm {timm.__version__}: '
            f'{type(error).__name__}: {error}.{hint}'
        ) from error


def _only_size(network: Any, size: Size) -> Size | None:
    """Return the height and width of images, if the model takes no other."""
    embedding: Any = getattr(network, 'patch_embed', None)
    if hasattr(embedding, 'strict_img_size'):
        return embedding.img_size if embedding.strict_img_size else None
    return size if network.pretrained_cfg.get('fixed_input_size') else None


def _class_names(timm: Any, config: dict, classes: int) -> tuple[str, ...] | None:
    names, described = config.get('label_names'), config.get('label_descriptions')
    if names and len(names) == classes:
        return tuple((described or {}).get(name, name) for name in names)
    # Other datasets of a thousand classes have label names, handled above.
    subset = timm.data.infer_imagenet_subset(config)
    if subset is None or config.get('num_classes') != classes:
        return None
    return tuple(timm.data.ImageNetInfo(subset).label_descriptions())
