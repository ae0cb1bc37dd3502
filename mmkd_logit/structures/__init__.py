"""What one training step hands to every loss."""

from mmkd_logit.structures.logit_rows import LogitRows
from mmkd_logit.structures.pixel_rows import PixelRows, stack_labels

__all__ = ['LogitRows', 'PixelRows', 'stack_labels']
