"""DHKD's auxiliary heads: used in training only."""

from mmkd_logit.models.heads.conv_logit_head import ConvLogitHead
from mmkd_logit.models.heads.linear_logit_head import LinearLogitHead
from mmkd_logit.models.heads.mlp_logit_head import MLPLogitHead

__all__ = ['ConvLogitHead', 'LinearLogitHead', 'MLPLogitHead']
