"""DHKD's auxiliary head for maps."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from mmkd_logit.modules.heads.batch_norm import AnyBatchNorm2d
from mmkd_logit.modules.heads.logit_head import LogitHead


class ConvLogitHead(LogitHead):
    """A second per-pixel classifier: one 1x1 convolution, or two around a ReLU.

    The linear form is the counterpart of :class:`LinearLogitHead`, for pairs of one
    family. The nonlinear form (``hidden_channels``) drops whole channels; for pairs of
    different families, :class:`MLPLogitHead` also takes maps, and drops single
    elements, as the authors' head does. The authors' head for segmentation is not
    published.

    Source: https://arxiv.org/abs/2411.08937

    Args:
        in_channels (int): Channels D of the feature. The distiller fills it in.
        num_classes (int): Number of classes C. The distiller fills it in.
        hidden_channels (int, optional): Channels of the hidden layer. Defaults to
            None, no hidden layer.
        dropout (float): Probability that a hidden channel is zeroed. Defaults to
            0.1.
        init_cfg (dict, optional): Initialization of the weights. Defaults to None, a
            normal distribution of std 0.01 for the last layer, as in mmseg's heads.

    Example:
        >>> import torch
        >>> from mmkd_logit.modules import ConvLogitHead
        >>> ConvLogitHead(in_channels=8, num_classes=3)(torch.zeros(2, 8, 4, 5)).shape
        torch.Size([2, 3, 4, 5])
    """

    feature_ndim: ClassVar[tuple[int, ...]] = (4,)

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        hidden_channels: int | None = None,
        dropout: float = 0.1,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.hidden: nn.Module = nn.Identity()
        if hidden_channels is not None:
            self.hidden = nn.Sequential(
                nn.Conv2d(in_channels, hidden_channels, 1),
                nn.Dropout2d(dropout),
                AnyBatchNorm2d(hidden_channels),
                nn.ReLU(inplace=True),
            )
            in_channels = hidden_channels
        self.conv_logit = nn.Conv2d(in_channels, num_classes, 1)
        self._start()

    def _start(self) -> None:
        weight, bias = self.conv_logit.parameters()
        nn.init.normal_(weight, std=0.01)
        nn.init.zeros_(bias)

    def init_weights(self) -> None:
        """Initialize the weights when mmengine initializes those of all parts."""
        if self.init_cfg is None:
            self._start()
        super().init_weights()

    def forward(self, feature: Tensor) -> Tensor:
        """Compute logits (N, C, H, W) from features (N, D, H, W)."""
        return self.conv_logit(self.hidden(feature))
