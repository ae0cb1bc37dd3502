"""Classifiers in addition to those of mmpretrain."""

from mmkd_logit.models.classifiers.linear_probe import LinearProbe

__all__ = ['LinearProbe']
