"""DHKD's nonlinear auxiliary head."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mmkd_logit.modules.heads.batch_norm import AnyBatchNorm1d
from mmkd_logit.modules.heads.logit_head import LogitHead


class MLPLogitHead(LogitHead):
    """Linear, dropout, batch norm, ReLU, linear; for pairs of different families.

    On feature maps it works per pixel, with batch statistics over all pixels.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        in_channels (int): Size D of the feature. The distiller fills it in.
        num_classes (int): Number of classes C. The distiller fills it in.
        hidden_channels (int): Size of the hidden layer. Defaults to 200.
        dropout (float): Probability that an element is zeroed. Defaults to 0.1.
        init_cfg (dict, optional): Initialization of the weights. Defaults to None,
            torch's own, as in the authors' code.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import MLPLogitHead
        >>> head = MLPLogitHead(in_channels=8, num_classes=3)
        >>> head(torch.zeros(2, 8)).shape
        torch.Size([2, 3])
        >>> head(torch.zeros(2, 8, 4, 5)).shape
        torch.Size([2, 3, 4, 5])
    """

    feature_ndim: ClassVar[tuple[int, ...]] = (2, 4)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        hidden_channels: int = 200,
        dropout: float = 0.1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.layers = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.Dropout(dropout),
            AnyBatchNorm1d(hidden_channels),
            nn.ReLU(inplace=True),
            nn.Linear(hidden_channels, num_classes),
        )

    def forward(self, feature: Tensor) -> Tensor:
        """Compute logits (N, C, ...) from features (N, D, ...)."""
        if feature.ndim == 2:
            return self.layers(feature)
        pixels = feature.movedim(1, -1)
        logits = self.layers(pixels.flatten(0, -2))
        return logits.unflatten(0, pixels.shape[:-1]).movedim(-1, 1)
