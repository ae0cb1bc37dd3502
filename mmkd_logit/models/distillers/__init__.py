"""The model that the Runner trains."""

from mmkd_logit.models.distillers.logit_distiller import LogitDistiller
from mmkd_logit.models.distillers.unwrap import distiller_in

__all__ = ['LogitDistiller', 'distiller_in']
