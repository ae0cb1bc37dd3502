from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from mmkd_logit.functional import gradient_shares, kd_loss, kendall_tau_loss


@pytest.mark.parametrize('loss', [kd_loss, partial(kendall_tau_loss, k=5.0)])
def test_shares_by_the_rank_of_the_teacher(loss: object) -> None:
    student, teacher = torch.randn(2, 30, 6, dtype=torch.float64)
    shares = gradient_shares(loss, student, teacher)
    leaf = student.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(leaf, teacher), leaf)
    ranks = teacher.argsort(1, descending=True)
    sizes = np.take_along_axis(grad.abs().numpy(), ranks.numpy(), 1).sum(0)
    np.testing.assert_allclose(shares, sizes / sizes.sum())


def test_no_gradient_gives_zeros() -> None:
    logits = torch.randn(3, 4)
    shares = gradient_shares(kd_loss, logits, logits)
    assert shares.abs().max() < 1e-6 or shares.sum() == pytest.approx(1)
    flat = gradient_shares(lambda s, t: (s * 0).sum(), logits, logits)
    assert torch.equal(flat, torch.zeros(4, dtype=torch.float64))
    with pytest.raises(ValueError, match=r'got \(3, 4\) and \(3, 5\)'):
        gradient_shares(kd_loss, logits, torch.zeros(3, 5))
