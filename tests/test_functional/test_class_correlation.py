from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd_logit.functional import class_correlation, mean_off_diagonal


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32, torch.float64])
def test_equals_numpy(dtype: torch.dtype, device: str) -> None:
    logits = (torch.randn(50, 6) @ torch.randn(6, 6) + 20).to(dtype)
    got = class_correlation(logits.to(device)).cpu()
    expected = np.corrcoef(logits.double().numpy(), rowvar=False)
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_a_constant_class_correlates_with_none() -> None:
    logits = torch.randn(9, 3)
    logits[:, 1] = 0.1
    got = class_correlation(logits)
    assert (got[1] == 0).all() and (got[:, 1] == 0).all()
    assert got[0, 0].item() == pytest.approx(1)


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match=r'N >= 2, but got the shape \(1, 5\)'):
        class_correlation(torch.zeros(1, 5))
    with pytest.raises(ValueError, match=r'shape \(7,\)'):
        class_correlation(torch.zeros(7))


def test_mean_off_diagonal() -> None:
    matrix = torch.tensor([[9.0, 0.1, 0.2], [0.1, 9.0, 0.3], [0.2, 0.3, 9.0]])
    assert mean_off_diagonal(matrix) == pytest.approx(0.2)
    for bad in (torch.zeros(1, 1), torch.zeros(2, 3), torch.zeros(4)):
        with pytest.raises(ValueError, match=r'a matrix \(C, C\) with C >= 2'):
            mean_off_diagonal(bad)
