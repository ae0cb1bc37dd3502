from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from mmkd_logit.tasks.bilinear import ResizedMap, Strip

SIZES = [
    ((8, 8), (64, 64)),
    ((9, 13), (65, 97)),
    ((5, 7), (17, 33)),
    ((12, 9), (5, 4)),  # smaller
    ((6, 5), (6, 20)),
    ((1, 1), (4, 5)),
    ((4, 5), (1, 1)),
]


@pytest.mark.parametrize('align_corners', [False, True])
@pytest.mark.parametrize(('old', 'new'), SIZES)
@pytest.mark.parametrize('lines', [1, 3, 1000])
def test_in_parts_as_interpolate_of_the_whole(
    old: tuple[int, int], new: tuple[int, int], align_corners: bool, lines: int
) -> None:
    """Values and gradient, in parts that span two images, with pixels left out."""
    maps = torch.randn(3, 4, *old, dtype=torch.float64, requires_grad=True)
    whole = interpolate(maps, new, mode='bilinear', align_corners=align_corners)
    pixels = whole.permute(0, 2, 3, 1).flatten(0, 2)
    index = (torch.rand(len(pixels)) < 0.8).nonzero().squeeze(1)
    upstream = torch.randn(len(index), 4, dtype=torch.float64)
    (expected,) = torch.autograd.grad(pixels[index], maps, upstream)

    resized = ResizedMap(maps.detach(), new, align_corners)
    got = torch.zeros_like(resized.lines)
    for start in range(0, 3 * new[0], lines):
        stop = min(start + lines, 3 * new[0])
        here = (index >= start * new[1]) & (index < stop * new[1])
        strip = Strip(start, stop, index[here], new[1])
        read = resized.read(strip)
        torch.testing.assert_close(read, pixels[index[here]], rtol=0, atol=1e-12)
        resized.pull_back(strip, upstream[here], got)
    got = got.view(3, *old, 4).permute(0, 3, 1, 2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('align_corners', [False, True])
def test_some_pixels(align_corners: bool) -> None:
    maps = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    whole = interpolate(maps, (9, 17), mode='bilinear', align_corners=align_corners)
    pixels = whole.permute(0, 2, 3, 1).flatten(0, 2)
    index = torch.randint(len(pixels), (30,))
    got = ResizedMap(maps, (9, 17), align_corners).take(index)
    torch.testing.assert_close(got, pixels[index], rtol=0, atol=1e-12)
    upstream = torch.randn(30, 3, dtype=torch.float64)
    (slope,) = torch.autograd.grad(got, maps, upstream)
    (expected,) = torch.autograd.grad(pixels[index], maps, upstream)
    torch.testing.assert_close(slope, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_resized_in_single(dtype: torch.dtype) -> None:
    maps = torch.randn(1, 3, 4, 5).to(dtype)
    strip = Strip(3, 5, torch.arange(3 * 40, 5 * 40), 40)
    got = ResizedMap(maps, (8, 40), False).read(strip)
    assert torch.equal(got, ResizedMap(maps.float(), (8, 40), False).read(strip))
