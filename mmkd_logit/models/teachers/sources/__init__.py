"""Sources of teachers: one file each, imported when it is used."""

from __future__ import annotations

from importlib import import_module

from mmkd_logit.models.teachers.sources.source import (
    Builder,
    Found,
    LogitModel,
    Request,
    pick_output,
)

# Modules by the key that names the model in a teacher's settings.
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
# These include their weights, and specify no preprocessing.
FILES = ('exported', 'onnx')


def builder_of(source: str) -> Builder:
    """Return the function that builds the teachers of a source.

    Args:
        source (str): Its key.

    Returns:
        Callable: Takes a :class:`Request` and returns a :class:`Found`.
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
    'pick_output',
]
