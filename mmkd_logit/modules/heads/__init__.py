"""DHKD's auxiliary heads, used only in training."""

from mmkd_logit.modules.heads.conv_logit_head import ConvLogitHead
from mmkd_logit.modules.heads.linear_logit_head import LinearLogitHead
from mmkd_logit.modules.heads.logit_head import LogitHead
from mmkd_logit.modules.heads.mlp_logit_head import MLPLogitHead

__all__ = ['ConvLogitHead', 'LinearLogitHead', 'LogitHead', 'MLPLogitHead']
