"""Description of a teacher in the header of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mmkd_logit.checkpoint import sha256_of
from mmkd_logit.logit_store import plain_settings
from mmkd_logit.models.teachers.preprocessing import read_resize
from mmkd_logit.models.teachers.sources import SOURCES, TOOLBOX
from mmkd_logit.models.teachers.sources.openmmlab import model_config

SHA = 'sha256'
"""Key of a file's digest in its description; None if the file is not here."""

# The settings that, besides the model and its checkpoint, determine the logits. How the
# model runs and where its files are do not.
_SETTINGS: dict[str, Any] = {
    'weights': None,
    'options': {},
    'output': None,
    'preprocess': None,
    'resize': 'auto',
    'class_map': None,
}
_OF_FILES = ('cache_dir', 'local_files_only', 'token')
# Without a checkpoint these use the pretrained weights of the named model.
_HUBS = ('timm', 'huggingface')


def describe_teacher(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a teacher for the header of a store, as far as its settings allow.

    Args:
        settings (dict): Those of a :class:`Teacher`, possibly without its model or its
            checkpoint.

    Returns:
        dict[str, Any]: ``model``, or the name of the library or the kind of file;
        ``checkpoint``; and the settings that determine the logits. Files are included
        with their digests. Without a model, only the settings that are given.

    Raises:
        FileNotFoundError: If the config does not exist.
        ValueError: If ``resize`` is out of range.
    """
    given = {key: value for key, value in settings.items() if value is not None}
    sources = [key for key in SOURCES if key in given]
    found = {key: settings[key] for key in _SETTINGS if key in settings}
    if sources:
        found = {**_SETTINGS, **found}
    for source in sources:
        if source in TOOLBOX:
            found['model'] = model_config(given[source])
        else:
            found[source] = _describe_file(given[source])
        if source in _HUBS:
            found['checkpoint'] = 'pretrained'
    if 'checkpoint' in settings:
        checkpoint = settings['checkpoint']
        found['checkpoint'] = checkpoint and _describe_file(checkpoint)
    if 'resize' in found:
        found['resize'] = read_resize(found['resize'])
    if 'options' in found:
        options = dict(found['options'] or {})
        found['options'] = {k: options[k] for k in options if k not in _OF_FILES}
    return plain_settings(found)


def _describe_file(source: str) -> dict[str, Any]:
    """Describe a file or a folder, with its digest if it exists here."""
    path, digest = Path(source).expanduser(), None
    if path.is_file():
        digest = sha256_of(path)
    elif path.is_dir():
        files = sorted(each for each in path.iterdir() if each.is_file())
        listed = ' '.join(f'{each.name} {sha256_of(each)}' for each in files)
        digest = hashlib.sha256(listed.encode()).hexdigest()
    return {'source': str(source), SHA: digest}


def digest_of_weights(module: nn.Module) -> str:
    """Return the SHA-256 of a model's weights, whatever file they come from."""
    sha256 = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        sha256.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
        flat = value.detach().cpu().contiguous().view(-1)
        sha256.update(flat.view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()
