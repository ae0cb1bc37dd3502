"""DHKD's auxiliary head: a second linear classifier."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mmkd_logit.modules.heads.logit_head import LogitHead


class LinearLogitHead(LogitHead):
    """Linear(D, C) on the pre-logits feature, for pairs of one family.

    It is trained alongside the student's own classifier and dropped afterwards. As in
    the authors' code, it is initialized like torch's ``Linear``: uniformly, with a
    standard deviation of 1 / sqrt(3 D); mmpretrain's own heads use 0.01.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        in_channels (int): Size D of the feature. The distiller fills it in.
        num_classes (int): Number of classes C. The distiller fills it in.
        init_cfg (dict, optional): Initialization of the weights. Defaults to None,
            torch's own.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import LinearLogitHead
        >>> LinearLogitHead(in_channels=8, num_classes=3)(torch.zeros(2, 8)).shape
        torch.Size([2, 3])
    """

    feature_ndim: ClassVar[tuple[int, ...]] = (2,)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, feature: Tensor) -> Tensor:
        """Compute logits (N, C) from features (N, D)."""
        return self.fc(feature)
