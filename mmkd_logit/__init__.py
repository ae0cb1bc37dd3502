"""Distil the logits of a large classifier or segmentor into a small one."""

from importlib.util import find_spec

from mmkd_logit.version import __version__

# `mmkd_logit.functional` must work where only torch is installed.
if find_spec('mmengine') is not None:
    from mmkd_logit import registry  # noqa: F401

__all__ = ['__version__']
