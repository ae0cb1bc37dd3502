from __future__ import annotations

import numpy as np
import pytest
import torch

from mmkd_logit.functional import calibration_bins


def test_equals_the_definition(device: str) -> None:
    logits = 2 * torch.randn(300, 4)
    labels = torch.randint(4, (300,))
    got = calibration_bins(logits.to(device), labels.to(device))

    p = logits.double().softmax(1).numpy()
    confidence, right = p.max(1), p.argmax(1) == labels.numpy()
    error = 0.0
    for i in range(15):
        inside = (i / 15 < confidence) & (confidence <= (i + 1) / 15)
        assert got.rows[i] == inside.sum()
        if inside.any():
            a, b = right[inside].mean(), confidence[inside].mean()
            error += inside.sum() / 300 * abs(a - b)
            assert got.accuracy[i].item() == pytest.approx(a, rel=1e-5)
            assert got.confidence[i].item() == pytest.approx(b, rel=1e-5)
        else:
            assert got.accuracy[i] == got.confidence[i] == 0
    assert got.error == pytest.approx(error, rel=1e-5)
    assert error > 0.1


def test_known_errors() -> None:
    sure = torch.tensor([[1e4, 0.0]]).expand(4, 2)
    assert calibration_bins(sure, torch.zeros(4).long()).error == 0
    assert calibration_bins(sure, torch.ones(4).long()).error == 1
    assert calibration_bins(sure, torch.tensor([0, 0, 1, 1])).error == 0.5
    assert calibration_bins(sure.half(), torch.tensor([0, 0, 0, 1])).error == 0.25


def test_number_of_bins() -> None:
    p = torch.tensor([[0.6, 0.4], [0.9, 0.1]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    # One bin: the mean confidence is .75 and half are right. Ten: .4 and .9 apart.
    assert calibration_bins(p.log(), labels, bins=1).error == pytest.approx(0.25)
    ten = calibration_bins(p.log(), labels, bins=10)
    assert ten.error == pytest.approx((0.4 + 0.9) / 2)
    assert len(ten.rows) == 10
    np.testing.assert_array_equal(ten.rows.nonzero().flatten(), [5, 8])


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match=r'N >= 1, but got the shapes \(0, 3'):
        calibration_bins(torch.zeros(0, 3), torch.zeros(0).long())
    with pytest.raises(ValueError, match=r'\(4, 3\) and \(5,\)'):
        calibration_bins(torch.zeros(4, 3), torch.zeros(5).long())
    with pytest.raises(ValueError, match='bins must be 1 or more, but got 0'):
        calibration_bins(torch.zeros(4, 3), torch.zeros(4).long(), bins=0)
