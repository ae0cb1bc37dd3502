from __future__ import annotations

import torch
from mmengine.model import ImgDataPreprocessor
from mmpretrain.models import ClsDataPreprocessor

from mmkd_logit.models.teachers.normalization import Renormalize

MEAN, STD = [100.0, 110.0, 120.0], [50.0, 55.0, 60.0]


def test_between_every_pair_of_preprocessors() -> None:
    """Renormalizing gives what the teacher's own preprocessor would have given."""
    preprocessors = [
        ClsDataPreprocessor(),
        ClsDataPreprocessor(to_rgb=True),
        ClsDataPreprocessor(mean=MEAN, std=STD),
        ClsDataPreprocessor(mean=MEAN, std=STD, to_rgb=True),
        ImgDataPreprocessor(mean=STD, std=MEAN, bgr_to_rgb=True),
        ImgDataPreprocessor(mean=[127.5], std=[127.5]),
    ]
    images = (torch.rand(2, 3, 4, 4) * 255).to(torch.uint8)
    for student in preprocessors:
        seen = student({'inputs': list(images)})['inputs']
        seen = seen if torch.is_tensor(seen) else torch.stack(seen)
        for teacher in preprocessors:
            wanted = teacher({'inputs': list(images)})['inputs']
            wanted = wanted if torch.is_tensor(wanted) else torch.stack(wanted)
            renormalize = Renormalize.between(student, teacher)
            given = seen.float() if renormalize is None else renormalize(seen.float())
            torch.testing.assert_close(given, wanted.float(), rtol=1e-5, atol=2e-4)
            if student is teacher:
                assert renormalize is None
