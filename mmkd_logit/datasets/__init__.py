"""Built-in data, datasets that mmpretrain lacks, and views of any dataset."""

from mmkd_logit import registry  # noqa: F401  first: its error names the extras
from mmkd_logit.datasets.digit_pairs import DigitPairs
from mmkd_logit.datasets.digits import Digits
from mmkd_logit.datasets.stl10 import STL10
from mmkd_logit.datasets.tiny_imagenet import TinyImageNet
from mmkd_logit.datasets.views import ViewDataset, ViewSampler

__all__ = [
    'STL10',
    'DigitPairs',
    'Digits',
    'TinyImageNet',
    'ViewDataset',
    'ViewSampler',
]
