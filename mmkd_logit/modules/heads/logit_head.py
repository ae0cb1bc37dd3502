"""Base class of DHKD's auxiliary heads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class LogitHead(nn.Module, ABC):
    """Base of the heads: initialized by torch's defaults or mmengine's ``init_cfg``.

    Args:
        init_cfg (dict, optional): Initialization of the weights, done by mmengine when
            it calls :meth:`init_weights`.
    """

    feature_ndim: ClassVar[tuple[int, ...]]
    """Numbers of dimensions that a feature may have, including the batch."""

    def __init__(self, init_cfg: dict | list[dict] | None) -> None:
        super().__init__()
        self.init_cfg = init_cfg

    def init_weights(self) -> None:
        """Initialize the weights by ``init_cfg``, if it is set."""
        if self.init_cfg:
            from mmengine.model import initialize

            initialize(self, self.init_cfg)

    @abstractmethod
    def forward(self, feature: Tensor) -> Tensor:
        """Compute logits from features.

        Args:
            feature (Tensor): Input of the student's last layer, shape (N, D, ...).

        Returns:
            Tensor: Shape (N, C, ...).
        """
