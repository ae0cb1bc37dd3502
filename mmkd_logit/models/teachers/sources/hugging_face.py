"""Classifiers and semantic segmentors of Hugging Face's transformers."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from mmkd_logit.checkpoint import read_checkpoint, weights_of
from mmkd_logit.dist import first_process_first
from mmkd_logit.models.teachers.preprocessing import Preprocessing, Size
from mmkd_logit.models.teachers.sources.source import (
    Found,
    LogitModel,
    Request,
    import_extra,
)

# Arguments of from_pretrained on where the files are and how to get them.
_OPTIONS = ('cache_dir', 'local_files_only', 'revision', 'subfolder', 'token')
_KINDS = {
    'ForImageClassification': 'AutoModelForImageClassification',
    'ForImageClassificationWithTeacher': 'AutoModelForImageClassification',
    'ForSemanticSegmentation': 'AutoModelForSemanticSegmentation',
}
# Filters by Pillow's numbers.
_FILTERS = {0: 'nearest', 2: 'bilinear'}


def build(request: Request) -> Found:
    """Build a model of transformers, without running code from its repository.

    Args:
        request (Request): ``what`` is a repository on the hub, or a folder written by
            ``save_pretrained``, with model and image processor.

    Returns:
        Found: The model, the preprocessing of its image processor, and its
        ``id2label``.

    Raises:
        ImportError: If transformers is not installed.
        ValueError: If the model does not output logits of images, asks to run code, or
            its weights are not safetensors or do not match exactly.
    """
    transformers = import_extra('transformers', 'huggingface', request.who)
    unknown = [name for name in request.options if name not in _OPTIONS]
    if unknown:
        raise ValueError(
            f'teacher.options of {request.who} has the unknown key {unknown[0]!r}. It '
            f'takes {", ".join(_OPTIONS)}.'
        )
    with first_process_first():
        try:
            kind = _kind(_written(transformers, request), request)
            network = _load(transformers, kind, request)
            told = _preprocessing(transformers, request)
        except (ImportError, ValueError) as error:
            if request.who in str(error):
                raise
            raise _unreadable(request, error) from error
        except Exception as error:  # a hostile folder can raise anything
            raise _unreadable(request, error) from error
    config = network.config
    names = tuple(str(config.id2label[i]) for i in range(config.num_labels))
    named = any(name != f'LABEL_{i}' for i, name in enumerate(names))
    size = _only_size(network)
    module = LogitModel(network, request.who, config.num_labels, request.output, size)
    return Found(module, told, names if named else None)


def _unreadable(request: Request, error: Exception) -> ValueError:
    return ValueError(
        f'{request.who} cannot be read by transformers: {type(error).__name__}: '
        f'{" ".join(str(error).split())[:500]}'
    )


def _written(transformers: Any, request: Request) -> dict[str, Any]:
    """Return the contents of its config.json, which must not name code."""
    written, _ = transformers.PretrainedConfig.get_config_dict(
        request.what, **request.options
    )
    if not written:
        raise ValueError(f'{request.who} is a folder without a config.json.')
    problem = written.get('problem_type')
    if problem not in (None, 'single_label_classification'):
        raise ValueError(
            f'{request.who} has problem_type={problem!r}: it predicts no softmax over '
            'classes that exclude one another, which the losses here compare. '
            'Multi-label classifiers are not supported yet.'
        )
    for name, value in written.items():
        if 'attn_implementation' in name and '/' in str(value):
            raise ValueError(
                f'{request.who} asks to run the code of {value!r} ({name} in its '
                'config.json), which is never run here.'
            )
    index = Path(request.what, 'model.safetensors.index.json')
    if index.is_file():
        files = set(json.loads(index.read_text())['weight_map'].values())
        if not all(str(file).endswith('.safetensors') for file in files):
            raise ValueError(
                f'{request.who} has weights in {", ".join(map(str, files))}, but they '
                'must be safetensors.'
            )
    return written


def _kind(written: dict, request: Request) -> str:
    """Return the class to load a model with, if it outputs logits and runs no code."""
    if written.get('auto_map'):
        raise ValueError(
            f'{request.who} asks to run code of its own repository (auto_map in its '
            'config.json), which is never run here. Export the model to ONNX or with '
            'torch.export in a place that you trust, and use teacher.onnx or '
            'teacher.exported.'
        )
    if 'architecture' in written:  # of a single one, as timm writes it
        hub = '' if Path(request.what).is_dir() else 'hf-hub:'
        raise ValueError(
            f'{request.who} holds a model of timm, a {written["architecture"]}: set '
            f"teacher.timm='{hub}{request.what}' instead of teacher.huggingface."
        )
    names = written.get('architectures') or ['none']
    for name in names:
        for end, kind in _KINDS.items():
            if name.endswith(end):
                return kind
    if 'text_config' in written or 'vocab_size' in written:
        why = (
            "it takes text. For CLIP, use mmpretrain's zero-shot classifier: "
            "teacher.config='mmpretrain::clip/...'"
        )
    else:
        why = (
            'it gives features, or something else. Use a model that was fine-tuned '
            'for classification'
        )
    raise ValueError(
        f'{request.who} is a {names[0]}, which gives no logits of images: {why}. '
        f'Expected an architecture that ends with {" or ".join(list(_KINDS)[::2])}.'
    )


def _load(transformers: Any, kind: str, request: Request) -> Any:
    auto = getattr(transformers, kind)
    safely = {**request.options, 'trust_remote_code': False}
    told = {'output_loading_info': True}
    try:
        if request.pretrained:
            network, report = auto.from_pretrained(
                request.what, use_safetensors=True, **told, **safely
            )
        else:
            config = transformers.AutoConfig.from_pretrained(request.what, **safely)
            network = auto.from_config(config, trust_remote_code=False)
            if request.checkpoint is None:
                return network
            weights = weights_of(read_checkpoint(request.checkpoint))
            # Names in files differ from the model's; from_pretrained converts them.
            network, report = type(network).from_pretrained(
                None, config=config, state_dict=dict(weights), **told
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f'{request.who} cannot be loaded: {error}. Its weights must be '
            'safetensors: those of other formats could run code when they are read.'
        ) from error
    lacking = {
        kind: sorted(map(str, report[kind]))
        for kind in ('missing_keys', 'mismatched_keys', 'error_msgs')
        if report.get(kind)
    }
    if lacking:
        shown = '; '.join(
            f'{len(keys)} {kind.replace("_", " ")}: {", ".join(keys[:4])}'
            for kind, keys in lacking.items()
        )
        raise ValueError(
            f'The weights of {request.who} do not fit its {type(network).__name__}, '
            f'which would be partly random: {shown}.'
        )
    return network.float()


def _preprocessing(transformers: Any, request: Request) -> Preprocessing | None:
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(
            request.what, **request.options, trust_remote_code=False
        )
    except (OSError, ValueError, ImportError):
        return None  # teacher.preprocess must specify it
    if getattr(processor, 'rescale_offset', False) or getattr(
        processor, 'include_top', False
    ):
        return None  # normalizes twice
    factor = 1.0
    if getattr(processor, 'do_rescale', True):
        factor = getattr(processor, 'rescale_factor', None) or 1 / 255
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if getattr(processor, 'do_normalize', False):
        mean, std = processor.image_mean, processor.image_std
    # -1 stands for no filter.
    resample = -1 if processor.resample is None else int(processor.resample)
    return Preprocessing(
        mean=tuple(each / factor for each in mean),
        std=tuple(each / factor for each in std),
        interpolation=_FILTERS.get(resample, 'bicubic'),
        told_by=f'its {type(processor).__name__}',
    )


def _only_size(network: Any) -> Size | None:
    """Return the height and width of images, if the model takes no other."""
    size = getattr(network.config, 'image_size', None)
    # Models whose positions are tied to a size have an option to interpolate them.
    if 'interpolate_pos_encoding' not in inspect.signature(network.forward).parameters:
        return None
    if isinstance(size, int):
        return size, size
    return tuple(size) if size is not None else None
