"""Where teachers come from: one file for each source, imported when it is used."""

from __future__ import annotations

from importlib import import_module

from mmkd_logit.models.teachers.sources.source import (
    Builder,
    Found,
    LogitModel,
    Request,
)

# By the key that names the model in the settings of a teacher.
SOURCES = {
    'config': 'openmmlab',
    'model': 'openmmlab',
    'timm': 'timm_models',
    'huggingface': 'hugging_face',
    'torchvision': 'torchvision_models',
    'exported': 'exported_program',
    'onnx': 'onnx_file',
}
TOOLBOX = ('config', 'model')
# They hold their weights themselves, and tell nothing of their images.
FILES = ('exported', 'onnx')


def builder_of(source: str) -> Builder:
    """What builds the teachers of a source.

    Args:
        source (str): Its key.

    Returns:
        Callable: Takes a :class:`Request`, and gives what is :class:`Found`.
    """
    return import_module(f'{__name__}.{SOURCES[source]}').build


__all__ = [
    'FILES',
    'SOURCES',
    'TOOLBOX',
    'Builder',
    'Found',
    'LogitModel',
    'Request',
    'builder_of',
]
