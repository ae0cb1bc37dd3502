"""The config of the plain student, for use without this package."""

from __future__ import annotations

import ast
import copy
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmkd_logit.models.settings import is_distiller

_OURS = 'mmkd_logit.'
_LOOPS = ('train', 'val', 'test')
# Of the run that made the student, not of the student.
_OF_THE_RUN = ('load_from', 'launcher', 'method', 'resume', 'work_dir')


def student_config(cfg: Mapping[str, Any]) -> str:
    """Config of the student, with no base and nothing of this package in it.

    It builds, tests and trains the plain student. Loops over datasets of this package
    are left out, as are its hooks and optimizer wrappers.

    Args:
        cfg (Config | dict): Config of the distiller's run.

    Returns:
        str: The text of a Python config file. If the student's own network is one of
        this package, it stays, and the first line says so.

    Raises:
        ValueError: If the config is not that of a distiller.
    """
    if not is_distiller(cfg.get('model') or {}):
        raise ValueError(
            'The config of a student is taken from that of its distiller, but the '
            f'model of this config is a {(cfg.get("model") or {}).get("type")}.'
        )
    plain = {
        key: copy.deepcopy(value)
        for key, value in cfg.items()
        if key not in _OF_THE_RUN
    }
    plain['model'] = plain['model']['student']
    for loop in _LOOPS:
        if _is_ours(plain.get(f'{loop}_dataloader')):
            for name in ('dataloader', 'cfg', 'evaluator', 'pipeline'):
                plain.pop(f'{loop}_{name}', None)
    hooks = plain.get('default_hooks') or {}
    plain['default_hooks'] = {k: v for k, v in hooks.items() if not _is_ours(v)}
    custom = plain.pop('custom_hooks', None) or []
    if kept := [hook for hook in custom if not _is_ours(hook)]:
        plain['custom_hooks'] = kept
    wrapper = plain.get('optim_wrapper') or {}
    if str(wrapper.get('type')).startswith(_OURS):
        amp = 'Amp' in wrapper.pop('type')
        wrapper.pop('scope', None)
        wrapper['type'] = 'AmpOptimWrapper' if amp else 'OptimWrapper'
    note = (
        'it needs mmkd_logit, whose network it is'
        if _is_ours(plain['model'])
        else 'it needs the OpenMMLab packages only'
    )
    return (
        f'# The plain student of a distilled run; {note}.\n' + Config(plain).pretty_text
    )


def _is_ours(value: Any) -> bool:
    """Whether a config names a class of this package anywhere."""
    if isinstance(value, Mapping):
        return any(map(_is_ours, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_ours, value))
    return isinstance(value, str) and value.startswith(_OURS)


def parse_config(text: str) -> dict[str, Any]:
    """Read the text of a config as a checkpoint holds it, without running it.

    Args:
        text (str): Assignments of literals and ``dict(...)``, as mmengine dumps them.

    Returns:
        dict[str, Any]: The values by their names.

    Raises:
        ValueError: If there is anything else in it.
    """
    values: dict[str, Any] = {}
    try:
        for each in ast.parse(text).body:
            if not isinstance(each, ast.Assign) or len(each.targets) != 1:
                raise ValueError(f'line {each.lineno} assigns no value to a name')
            (target,) = each.targets
            if not isinstance(target, ast.Name):
                raise ValueError(f'line {each.lineno} assigns no value to a name')
            values[target.id] = ast.literal_eval(_Literals().visit(each.value))
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ValueError(
            f'The config in the checkpoint holds more than plain values: {error}. '
            'Name the config file with --config.'
        ) from error
    return values


class _Literals(ast.NodeTransformer):
    """Turns ``dict(a=1)`` and ``inf`` into literals."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = isinstance(node.func, ast.Name) and node.func.id == 'dict'
        if not named or node.args or any(k.arg is None for k in node.keywords):
            return node
        keys: list[ast.expr | None] = [ast.Constant(k.arg) for k in node.keywords]
        return ast.Dict(keys, [k.value for k in node.keywords])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Constant(float(node.id)) if node.id in ('inf', 'nan') else node
