"""What is written is read back as it was, and nothing in it runs."""

from __future__ import annotations

import ast
import math
import random
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict

from mmkd_logit.models.distillers.config_text import parse_config, write_config
from mmkd_logit.models.distillers.student_config import (
    student_config,
    student_config_of_text,
)

ALLOWED = (ast.Assign, ast.Constant, ast.Dict, ast.List, ast.Tuple, ast.UnaryOp)
TEXTS = [
    '',
    "a' + __import__('os').system('touch ran') + '",
    'a" + __import__("os").system("touch ran") + "',
    '\'"\'\'\' """ ',
    '\\',
    "\\'",
    'a\nimport os\nos.abort()\n',
    'a\r\n\t\0\x1a\x0b\x0c\x85\u2028\u2029\ufeff',
    '\ud800',
    '苹果 büro \U0001f600',
    "{{$NOT_SET:'+__import__('os').system('touch ran')+'}}",
    '{{$NOT_SET:\\\'+__import__("os").system("touch ran")+\\\'}}',
    '{{"$NOT_SET:1"}} {{ fileDirname }} {{_base_.model.type}} {{}} {',
    '%s %(a)s {0} $x `x` #',
    'x' * 500,
]
KEYS = [
    *TEXTS,
    *('a', 'type', 'class', 'None', 'print', 'self', 'items', 'ﬁ', 'µ', '__class__'),
    *('__debug__', 'a.b', 'a b', 'a=1, b', 'x):\n    pass\n(', '0', '*'),
    *(0, -1, None, True, 1.5, (1, 'a'), ()),
]
VALUES = [
    *(None, True, False, 0, -7, 2**70, 0.1, -0.0, 1e300, math.inf, -math.inf, math.nan),
    *([], (), {}, [1], (1,), ((),), [[], {}], {'a': {}}, {'a': (1, [2.0, None])}),
]


def in_order(value: Any) -> Any:
    """The same values, the keys of each dict in order."""
    if isinstance(value, dict):
        items = sorted(value.items(), key=lambda item: str(item[0]))
        return {key: in_order(part) for key, part in items}
    if isinstance(value, list | tuple):
        return type(value)(map(in_order, value))
    return value


def same(a: Any, b: Any) -> bool:
    """Equal, of the same types, with NaN equal to itself."""
    return repr(in_order(a)) == repr(in_order(b))


def check(values: dict[str, Any], tmp_path: Path) -> None:
    """The text is one of literals, and mmengine reads what was written."""
    text = write_config(values)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            assert node.func.id in ('dict', 'float')
        else:
            kinds = (*ALLOWED, ast.Module, ast.Name, ast.keyword)
            assert isinstance(node, (*kinds, ast.expr_context, ast.unaryop))
    assert same(parse_config(text), values)
    path = tmp_path / 'config.py'
    path.write_text(text, encoding='utf-8')
    assert same(Config.fromfile(path).to_dict(), values)
    assert not (tmp_path / 'ran').exists()


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize('text', TEXTS, ids=range(len(TEXTS)))
def test_any_text_is_a_text(text: str, tmp_path: Path) -> None:
    check({'a': text, 'b': [text, {'c': text, text: {text: (text,)}}]}, tmp_path)


@pytest.mark.parametrize('key', KEYS, ids=range(len(KEYS)))
def test_any_key_is_a_key(key: Any, tmp_path: Path) -> None:
    check({'a': {key: 1}, 'b': [{'c': 1, key: {key: {}}}]}, tmp_path)


def test_any_nested_values(tmp_path: Path) -> None:
    draw = random.Random(0)

    def value(depth: int) -> Any:
        kind = draw.randrange(6 if depth else 2)
        parts = range(draw.randrange(5))
        if kind == 0:
            return draw.choice(TEXTS)
        if kind == 1:
            return draw.choice(VALUES)
        if kind == 2:
            return [value(depth - 1) for _ in parts]
        if kind == 3:
            return tuple(value(depth - 1) for _ in parts)
        return {draw.choice(KEYS): value(depth - 1) for _ in parts}

    for _ in range(40):
        check({name: value(6) for name in ('b', 'a', 'model', 'ä')}, tmp_path)


def test_deep_and_wide_values(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {'a': (deep,)}
    check({'deep': deep, 'wide': list(range(3000))}, tmp_path)


def test_subclasses_are_what_they_stand_for() -> None:
    class Loud(str):
        def __repr__(self) -> str:
            return 'print()'

    class Number(float):
        def __repr__(self) -> str:
            return 'print()'

    values = dict(a=Loud('x'), b=Number(2), c=OrderedDict(d=1), e=ConfigDict(f=dict()))
    text = "a = 'x'\nb = 2.0\nc = dict(d=1)\ne = dict(f={})\n"
    assert write_config(values) == text


@pytest.mark.parametrize(
    'value',
    [1j, b'x', {1}, ..., Path('x'), print, torch.float32, torch.ones(1), np.ones(2)],
    ids=str,
)
def test_what_is_no_plain_value_is_named(value: Any) -> None:
    name = type(value).__name__
    with pytest.raises(ValueError, match=rf'model\.head\[1\]\.a is a {name}, but'):
        write_config({'model': {'head': [0, {'a': value}]}})
    if name not in ('Tensor', 'ndarray', 'set'):
        with pytest.raises(ValueError, match=f'a key of model is a {name}'):
            write_config({'model': {value: 1}})


@pytest.mark.parametrize(
    'name', ['a b', '', 'class', 'a=1;b', '1', 'a.b', 'ﬁ', '__debug__', 'dict', 'float']
)
def test_names_that_no_variable_has(name: str) -> None:
    with pytest.raises(ValueError, match='variable of a config cannot be named'):
        write_config({name: 1})


@pytest.mark.parametrize(
    'text',
    [
        "a = __import__('os').system('true')",
        'import os',
        'a = dict(**{})',
        'a = dict([], b=1)',
        'a, b = 1, 2',
        'a.b = 1',
        'a += 1',
        'a: int = 1',
        'a = [x for x in (1,)]',
        'a = (',
        'a = f"{print()}"',
        'a = (b := 1)',
        'a = lambda: 0',
        'a = float("1e3")',
        "a = float(__import__('os'))",
        'a = {[]: 1}',
        'a = {{}}',
        'a = dict(b=1)(2)',
        'a = 1 if print() else 2',
        'a = b',
        'a = \0',
        '\ud800',
        f'a = {"(" * 5000}',
        f'a = {"-" * 100_000}1',
        f'a = {"[" * 150}{"]" * 150}' + ' + 1',
    ],
    ids=range(25),
)
@pytest.mark.filterwarnings('ignore')
def test_text_that_is_more_than_plain_values(text: str) -> None:
    with pytest.raises(ValueError, match=r'more than plain values.*--config'):
        parse_config(text)


STUDENT = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmkd_logit.CIFARResNet',
        arch='resnet8',
        init_cfg=dict(type='Kaiming', layer='Conv2d'),
    ),
    neck=dict(type='mmpretrain.GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64),
)
DISTILLER = dict(type='mmkd_logit.LogitDistiller', student=STUDENT, teacher={})


BASE = dict(model=DISTILLER, default_scope='mmpretrain', rate='https://x')


def dumped(**changes: Any) -> str:
    """The text of a config in a checkpoint."""
    values = {**BASE, **changes}
    return ''.join(f'{name} = {value!r}\n' for name, value in values.items())


def test_a_checkpoint_s_config_is_written_as_the_run_s_own() -> None:
    hooks = dict(
        default_hooks=dict(timer=dict(type='mmengine.hooks.IterTimerHook')),
        test_dataloader=dict(dataset=dict(type='CIFAR100', data_root='data/cifar100')),
        optim_wrapper=dict(constructor='LearningRateDecayOptimWrapperConstructor'),
        optimizer=dict(type='SGD', norm_layer='BN', padding_mode='zeros'),
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
    )
    text, left_out = student_config_of_text(dumped(**hooks))
    assert left_out == []
    assert text == student_config(Config({**BASE, **hooks}))
    assert parse_config(text)['model'] == STUDENT


def test_weights_of_a_model_are_left_out() -> None:
    """Without this package, mmengine could run code when it reads them."""
    pretrained = dict(type='Pretrained', checkpoint='evil.pth')
    student = dict(
        STUDENT,
        backbone=dict(STUDENT['backbone'], init_cfg=[pretrained]),
        head=dict(STUDENT['head'], init_cfg=pretrained),
        pretrained='evil.pth',
    )
    text, left_out = student_config_of_text(
        dumped(model=dict(DISTILLER, student=student))
    )
    assert 'evil' not in text
    names = ('pretrained', 'backbone.init_cfg', 'head.init_cfg')
    assert left_out == [f'model.student.{name}' for name in names]
    own = student_config(Config(dict(BASE, model=dict(DISTILLER, student=student))))
    assert own.count('evil.pth') == 3


def test_what_mmengine_imports_or_reads_is_left_out() -> None:
    text, left_out = student_config_of_text(
        dumped(
            _base_='evil.py',
            custom_imports=dict(imports=['evil']),
            _deprecation_=dict(expected='x', reference='y'),
            __builtins__={},
            compile=dict(options={'cpp.cxx': ['evil']}),
            runner_type='evil.run',
            filename='x',
            log_level='INFO',
        )
    )
    assert sorted(left_out) == [
        *('__builtins__', '_base_', '_deprecation_', 'compile', 'custom_imports'),
        *('filename', 'runner_type'),
    ]
    assert set(parse_config(text)) == {
        *('model', 'default_scope', 'rate', 'log_level', 'default_hooks'),
    }
    own = dict(BASE, custom_imports=dict(imports=['mine']))
    assert "custom_imports = dict(imports=['mine'])" in student_config(Config(own))


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        (
            dict(val_evaluator=dict(type='subprocess.check_output')),
            'val_evaluator.type',
        ),
        (dict(val_evaluator=dict(type='mmengine.call_command')), 'call_command'),
        (dict(val_evaluator=dict(type='os')), "type' to 'os'"),
        (dict(val_evaluator=dict(type='not_registered')), 'not_registered'),
        (dict(val_evaluator=[dict(a=({'type': 'os.system'},))]), 'os.system'),
        (dict(val_evaluator=dict(type='mmengine.utils.misc.import_modules')), 'misc'),
        (dict(val_evaluator=dict(type='torch.load')), 'torch.load'),
        (dict(visualizer=dict(type='mmkd_logit.apis.onnx')), 'apis'),
        (dict(val_evaluator=dict(type='evil.Accuracy')), 'evil'),
        (dict(val_evaluator=dict(type='Accuracy', _scope_='evil')), '_scope_'),
        (dict(default_scope='evil'), 'default_scope'),
        (dict(custom_hooks=[dict(type='EMAHook', ema_type='os.system')]), 'ema_type'),
        (dict(custom_hooks=[dict(type='RFSearchHook')]), 'RFSearchHook'),
        (dict(optim_wrapper=dict(constructor='os.system')), 'constructor'),
        (
            dict(val_pipeline=[dict(type='torchvision/Resize', dtype='x')]),
            'torchvision/Resize',
        ),
        (
            dict(val_dataloader=dict(dataset=dict(ann_file='https://evil.org/x.pkl'))),
            'ann_file',
        ),
        (dict(val_dataloader=dict(dataset=dict(ann_file='x/evil.pkl'))), 'evil.pkl'),
        (dict(val_dataloader=dict(dataset=dict(ann_file='evil.yaml'))), 'evil.yaml'),
        (dict(val_pipeline=[dict(decode_backend='pickle')]), 'decode_backend'),
        (dict(val_pipeline=[dict(backend_args=dict(sys_path='x'))]), 'sys_path'),
        (dict(model={**DISTILLER, 'student': DISTILLER}), 'LogitDistiller'),
        *(
            (dict(model={**DISTILLER, 'student': {**STUDENT, 'x': {'y': path}}}), 'x.y')
            for path in ('evil.pkl', 'https://evil.org/x', '../x', 'evil.pth')
        ),
        (
            dict(model={**DISTILLER, 'student': {**STUDENT, 'neck': {'type': 'a.b'}}}),
            r'model\.neck\.type',
        ),
    ],
    ids=range(26),
)
def test_types_of_a_checkpoint_that_are_not_registered(
    changes: dict, named: str
) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match=f'checkpoint sets .*{named}.* --config'):
        student_config_of_text(dumped(**changes))
    assert not {name for name in set(sys.modules) - before if 'evil' in name}
    # The run's own config may have any of them.
    assert student_config(Config({**BASE, **changes}))


@pytest.mark.parametrize(
    'changes',
    [
        dict(model='x'),
        dict(model=dict(type='LogitDistiller')),
        dict(default_hooks=3),
        dict(optim_wrapper='x'),
        dict(optim_wrapper=dict(paramwise_cfg=dict(custom_keys={1: 2}))),
        dict(train_dataloader='x'),
    ],
    ids=range(6),
)
def test_a_checkpoint_s_config_of_another_kind(changes: dict) -> None:
    with pytest.raises(ValueError, match=r'checkpoint is not that of a dis.*--config'):
        student_config_of_text(dumped(**changes))
