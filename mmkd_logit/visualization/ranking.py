"""Where the gradient of a ranking loss goes, and what a divergence does not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmkd_logit.functional import kd_loss, kendall_tau, kendall_tau_loss

Loss = Callable[[Tensor, Tensor], Tensor]


def plot_ranking(
    logits: Mapping[str, tuple[Tensor, Tensor]], tau: float = 4.0, k: float = 100.0
) -> Figure:
    """Gradient of each rank of the teacher, and Kendall's tau of each row.

    On the left the share of the gradient that classes get, by their rank in the
    teacher's probabilities, from KD and from Kendall's tau. On the right a point a
    row: the divergence that KD minimizes at temperature 1, and Kendall's tau.

    Args:
        logits (Mapping[str, tuple[Tensor, Tensor]]): For each model the logits of the
            student and of its teacher, both of shape (N, C).
        tau (float): Temperature of KD. Defaults to 4.0.
        k (float): Steepness of Kendall's tau loss. Defaults to 100.0.

    Returns:
        Figure: With two axes.
    """
    losses: dict[str, tuple[str, Loss]] = {
        f'KD, tau={tau:g}': ('--', partial(kd_loss, tau=tau)),
        f"Kendall's tau, k={k:g}": ('-', partial(kendall_tau_loss, k=k)),
    }
    figure = Figure(figsize=(9.5, 3.8), layout='constrained')
    left, right = figure.subplots(1, 2)
    for index, (title, (student, teacher)) in enumerate(logits.items()):
        colour = f'C{index}'
        for name, (style, loss) in losses.items():
            shares = _share_of_gradient(loss, student, teacher).tolist()
            ranks = range(1, len(shares) + 1)
            label = f'{name}: {title}'
            left.plot(ranks, shares, style, color=colour, label=label)
        divergences = [
            float(kd_loss(s, t, 1.0))
            for s, t in zip(student.split(1), teacher.split(1))
        ]
        taus = kendall_tau(student, teacher)
        label = f'{title}: mean {taus.mean():.3f}'
        right.plot(divergences, taus.tolist(), '.', color=colour, ms=3, label=label)
    left.set(ylim=(0, None), xlabel="rank in the teacher's probabilities")
    left.set_ylabel('share of the gradient')
    right.set(xscale='log', xlabel='KL divergence of a row', ylabel="Kendall's tau")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    return figure


def _share_of_gradient(loss: Loss, student: Tensor, teacher: Tensor) -> Tensor:
    """Mean size of the gradient of each rank, over their sum; shape (C,)."""
    student = student.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(student, teacher), student)
    by_rank = grad.abs().gather(1, teacher.argsort(1, descending=True)).mean(0)
    return by_rank / by_rank.sum()
