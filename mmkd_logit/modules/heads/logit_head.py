"""What DHKD's auxiliary heads have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class LogitHead(nn.Module, ABC):
    """Base of the heads: starts as torch does, or as a config of mmengine says.

    Args:
        init_cfg (dict, optional): Initialization of the weights, which takes mmengine
            and is done when it asks for it.
    """

    feature_ndim: ClassVar[tuple[int, ...]]
    """Dimensions that a feature may have, the batch included."""

    def __init__(self, init_cfg: dict | None) -> None:
        super().__init__()
        self.init_cfg = init_cfg

    def init_weights(self) -> None:
        """Initialize as ``init_cfg`` says, if it is set."""
        if self.init_cfg:
            from mmengine.model import initialize

            initialize(self, self.init_cfg)

    @abstractmethod
    def forward(self, feature: Tensor) -> Tensor:
        """Logits from features.

        Args:
            feature (Tensor): What the student's last layer gets, shape (N, D, ...).

        Returns:
            Tensor: Shape (N, C, ...).
        """
