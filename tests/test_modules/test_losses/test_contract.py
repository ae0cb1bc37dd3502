"""The contract of all losses, over all that are registered."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
from contract import CHECKS, Check, every_loss, make_rows, value_of
from torch import Tensor

from mmkd_logit import functional
from mmkd_logit.modules.losses import (
    BinaryKLLoss,
    BinaryKLNormLoss,
    KDLoss,
    KendallTauLoss,
    LogitLoss,
    RowTransform,
    base,
)
from mmkd_logit.registry import MODELS, ROW_TRANSFORMS
from mmkd_logit.structures import LogitRows


@pytest.mark.parametrize('check', CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize('kind', every_loss(), ids=lambda kind: kind.__name__)
def test_contract(check: Check, kind: type[LogitLoss]) -> None:
    check(kind)


@pytest.mark.parametrize(
    ('kind', 'function', 'setting'),
    [
        (KDLoss, functional.kd_loss, 'tau'),
        (BinaryKLLoss, functional.binary_kl_loss, 'tau'),
        (BinaryKLNormLoss, functional.binary_kl_norm_loss, 'tau'),
        (KendallTauLoss, functional.kendall_tau_loss, 'k'),
    ],
)
def test_computes_the_function_of_its_method(
    kind: type[LogitLoss], function: object, setting: str
) -> None:
    rows = make_rows()
    got = value_of(kind, rows, **{setting: 3.0})
    torch.testing.assert_close(got, function(rows.student, rows.teacher, 3.0))


def test_defaults_are_those_of_the_papers() -> None:
    assert KDLoss().tau == 4.0
    assert BinaryKLLoss().tau == BinaryKLNormLoss().tau == 2.0
    assert KendallTauLoss().k == 100.0


def test_a_loss_that_is_registered_is_found_and_held_to_the_contract() -> None:
    @MODELS.register_module()
    class ScaledMSELoss(LogitLoss):
        """What it takes to add a loss."""

        def __init__(self, tau: float = 1.0, **common: object) -> None:
            super().__init__(**common)
            functional._checks.check_positive('tau', tau)
            self.tau = tau

        def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
            dtype = functional._checks.compute_dtype(student, teacher)
            s, t = student.to(dtype), teacher.detach().to(dtype)
            return (s - t).div(self.tau).square().sum() / max(1, s.numel())

    try:
        assert ScaledMSELoss in every_loss()
        for check in CHECKS:
            check(ScaledMSELoss)
    finally:
        MODELS._module_dict.pop('ScaledMSELoss')

    @MODELS.register_module()
    class LeakyLoss(ScaledMSELoss):
        """Breaks it: it goes on with logits that are not finite."""

        def compute(self, student: Tensor, teacher: Tensor, rows: LogitRows) -> Tensor:
            return super().compute(student.nan_to_num(), teacher, rows)

    try:
        broken = []
        for check in CHECKS:
            try:
                check(LeakyLoss)
            except AssertionError:
                broken.append(check.__name__)
        assert 'student_that_is_not_finite_gives_no_finite_value' in broken
    finally:
        MODELS._module_dict.pop('LeakyLoss')


def test_a_row_transform_of_the_user_s() -> None:
    @ROW_TRANSFORMS.register_module(name='halve')
    class Halve(RowTransform):
        needs_labels = True

        def __init__(self, by: float = 2.0) -> None:
            self.by = by

        def __call__(
            self, student: Tensor, teacher: Tensor, rows: LogitRows
        ) -> tuple[Tensor, Tensor]:
            return student / self.by, teacher / self.by

    try:
        rows = make_rows()
        loss = KDLoss(tau=1.0, transforms=[dict(type='halve', by=4.0), 'halve'])
        expected = functional.kd_loss(rows.student / 8, rows.teacher / 8, 1.0)
        torch.testing.assert_close(loss(rows), expected)
        assert loss.needs_labels and not KDLoss().needs_labels
        with pytest.raises(TypeError, match=r"transforms\[0\].*'bye'.*mean 'by'"):
            KDLoss(transforms=[dict(type='halve', bye=1.0)])
    finally:
        ROW_TRANSFORMS._module_dict.pop('halve')


def test_classes_name_their_own_settings_only() -> None:
    """Common ones pass through ``**common``: a new one is written once."""
    folder = Path(base.__file__).parent
    files = [path for path in folder.glob('*_loss.py')]
    assert len(files) >= 4
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name == '__init__':
                names = {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)}
                assert not names & {'loss_weight', 'head', 'transforms'}, path.name
                assert node.args.kwarg is not None and node.args.kwarg.arg == 'common'
