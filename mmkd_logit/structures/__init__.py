"""What one training step hands to every loss."""

from mmkd_logit.structures.logit_rows import LogitRows

__all__ = ['LogitRows']
