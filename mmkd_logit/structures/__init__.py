"""What one training step hands to every loss."""

from mmkd_logit.structures.logit_rows import LogitRows, LogitStrips

__all__ = ['LogitRows', 'LogitStrips']
