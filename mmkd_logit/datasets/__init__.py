"""Built-in data, the digits by default, and views of any data."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.datasets.digit_pairs import DigitPairs
from mmkd_logit.datasets.digits import Digits
from mmkd_logit.datasets.views import ViewDataset, ViewSampler

__all__ = ['DigitPairs', 'Digits', 'ViewDataset', 'ViewSampler']
