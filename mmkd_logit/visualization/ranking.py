"""Where the gradient of a ranking loss goes, and what a divergence does not see."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from torch import Tensor

from mmkd_logit.visualization.style import line_style, make_panels, printed


@printed
def plot_ranking(
    shares: Mapping[str, Tensor],
    divergence: Mapping[str, Tensor],
    tau: Mapping[str, Tensor],
) -> Figure:
    """Gradient of each rank of the teacher, and Kendall's tau of each row.

    Args:
        shares (Mapping[str, Tensor]): For each loss, the share of the gradient that
            goes to each rank of the teacher, shape (C,).
        divergence (Mapping[str, Tensor]): For each student, the KL divergence of each
            row from the teacher, shape (N,).
        tau (Mapping[str, Tensor]): For each student, Kendall's tau of its logits and
            the teacher's for each row, shape (N,).

    Returns:
        Figure: On the left the shares; on the right a point a row, its KL divergence
        from the teacher and its Kendall's tau.
    """
    figure, (left, right) = make_panels(
        2, columns=2, width=4.2, height=3.0, legend_lines=len(shares)
    )
    left.set(xlabel="rank in the teacher's probabilities", ylabel='share of gradient')
    for index, (label, share) in enumerate(shares.items()):
        ranks = range(1, len(share) + 1)
        every = max(1, len(share) // 10)
        left.plot(ranks, share, label=label, markevery=every, **line_style(index))
    left.set_ylim(0, None)
    right.set(xlabel='KL divergence of a row', ylabel="Kendall's tau of a row")
    right.set_xscale('log')
    for index, (label, taus) in enumerate(tau.items()):
        style = line_style(index) | {'linestyle': '', 'markersize': 3, 'alpha': 0.6}
        shown = f'{label}: mean {taus.mean():.3f}'
        right.plot(divergence[label], taus, label=shown, **style)
    for axis in (left, right):
        axis.legend(loc='upper center', bbox_to_anchor=(0.5, -0.18), handlelength=3.5)
    return figure
