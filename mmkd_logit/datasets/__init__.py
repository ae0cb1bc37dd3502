"""The digits default."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.datasets.digit_pairs import DigitPairs
from mmkd_logit.datasets.digits import Digits

__all__ = ['DigitPairs', 'Digits']
