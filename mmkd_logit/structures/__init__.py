"""Data that one training step passes to every loss."""

from mmkd_logit.structures.logit_rows import LogitRows, LogitStrips

__all__ = ['LogitRows', 'LogitStrips']
