"""Registers the parts that need torch alone, so that configs can name them."""

from inspect import isabstract

from mmkd_logit import modules
from mmkd_logit.modules.losses import TRANSFORMS
from mmkd_logit.registry import MODELS, ROW_TRANSFORMS

_BASES = modules.LogitHead, modules.LogitLoss

for name in modules.__all__:
    kind = getattr(modules, name)
    if isinstance(kind, type) and issubclass(kind, _BASES) and not isabstract(kind):
        MODELS.register_module(module=kind)
for name, transform in TRANSFORMS.items():
    ROW_TRANSFORMS.register_module(name=name, module=transform)
