"""Where the gradient of a ranking loss goes, and what a divergence does not see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from mmkd_logit.functional import kd_loss, kendall_tau, kendall_tau_loss
from mmkd_logit.visualization.style import line_style, make_panels, printed

Loss = Callable[[Tensor, Tensor], Tensor]


def gradient_shares(
    students: Mapping[str, Tensor], teacher: Tensor, tau: float = 4.0, k: float = 100.0
) -> dict[str, np.ndarray]:
    """How much of the gradient classes get, by their rank in the teacher's logits.

    Args:
        students (Mapping[str, Tensor]): Logits of shape (N, C), by the student's label.
        teacher (Tensor): Logits of shape (N, C).
        tau (float): Temperature of KD. Defaults to 4.0.
        k (float): Steepness of Kendall's tau loss. Defaults to 100.0.

    Returns:
        dict[str, np.ndarray]: For KD and for Kendall's tau on each student, by a label
        for both, shares of shape (C,), those of the teacher's first class first.

    Raises:
        ValueError: If a loss gives no gradient.
    """
    losses: dict[str, Loss] = {
        f'KD, tau={tau:g}': partial(kd_loss, tau=tau),
        f"Kendall's tau, k={k:g}": partial(kendall_tau_loss, k=k),
    }
    ranks = teacher.argsort(1, descending=True)
    shares = {}
    for name, loss in losses.items():
        for label, student in students.items():
            leaf = student.detach().clone().requires_grad_()
            (grad,) = torch.autograd.grad(loss(leaf, teacher), leaf)
            sizes = grad.abs().gather(1, ranks).sum(0)
            if sizes.sum() == 0:
                raise ValueError(
                    f'{name} gives {label} no gradient at all, so there is nothing to '
                    'share. Lower --k, take more samples, or another student.'
                )
            shares[f'{name}: {label}'] = (sizes / sizes.sum()).numpy()
    return shares


@printed
def plot_ranking(
    shares: Mapping[str, np.ndarray], students: Mapping[str, Tensor], teacher: Tensor
) -> Figure:
    """Gradient of each rank of the teacher, and Kendall's tau of each row.

    Args:
        shares (Mapping[str, np.ndarray]): What :func:`gradient_shares` gives.
        students (Mapping[str, Tensor]): Logits of shape (N, C), by the student's label.
        teacher (Tensor): Logits of shape (N, C).

    Returns:
        Figure: On the left the shares; on the right a point a row, its KL divergence
        from the teacher and its Kendall's tau.
    """
    figure, (left, right) = make_panels(*(2, 2, 4.2, 3.0), legend_lines=len(shares))
    left.set(xlabel="rank in the teacher's probabilities", ylabel='share of gradient')
    for index, (label, share) in enumerate(shares.items()):
        every = max(1, len(share) // 10)
        style = line_style(index)
        left.plot(
            range(1, len(share) + 1), share, label=label, markevery=every, **style
        )
    left.set_ylim(0, None)
    right.set(xlabel='KL divergence of a row', ylabel="Kendall's tau of a row")
    right.set_xscale('log')
    for index, (label, student) in enumerate(students.items()):
        each = zip(student.split(1), teacher.split(1))
        divergences = [float(kd_loss(s, t, tau=1.0)) for s, t in each]
        taus = kendall_tau(student, teacher)
        style = line_style(index) | {'linestyle': '', 'markersize': 3, 'alpha': 0.6}
        label = f'{label}: mean {taus.mean():.3f}'
        right.plot(divergences, taus.tolist(), label=label, **style)
    for axis in (left, right):
        axis.legend(loc='upper center', bbox_to_anchor=(0.5, -0.18), handlelength=3.5)
    return figure
