"""Distil the logits of a large classifier or segmentor into a small one.

``mmkd_logit.functional`` and ``mmkd_logit.modules`` work where only torch is installed.
Everything else needs an OpenMMLab stack, and ties into it when ``mmkd_logit.registry``
is first imported, which mmengine does for a ``type='mmkd_logit.<name>'`` in a config.
"""

from mmkd_logit.version import __version__

__all__ = ['__version__']
