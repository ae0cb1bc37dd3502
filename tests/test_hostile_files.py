"""Files that would run code, crash or fill the memory, at every door."""

from __future__ import annotations

import importlib
import io
import json
import os
import pickle
import tarfile
import threading
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from old_torch import tar_parts, write_tar
from torch import nn

from mmkd_logit.apis import build_runner, check_resume, make_config
from mmkd_logit.checkpoint import read_checkpoint
from mmkd_logit.models import Teacher
from mmkd_logit.registry import MODELS

NEEDS_EXPORT = pytest.mark.skipif(
    not hasattr(torch.export, 'Dim'), reason='this torch cannot export such programs'
)
WEIGHTS = {'fc.weight': torch.arange(6.0).view(2, 3)}


class Reduced:
    """Pickled as a call, with a state."""

    def __init__(self, function: Any, arguments: tuple, state: Any = None) -> None:
        self.parts = function, arguments, *(() if state is None else (state,))

    def __reduce__(self) -> tuple:
        return self.parts


def bomb(marker: Path) -> Reduced:
    return Reduced(os.mkdir, (str(marker),))


def zipped(pickled: bytes, path: Path) -> None:
    """Write a checkpoint with a pickle of our own."""
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    with zipfile.ZipFile(buffer) as archive, zipfile.ZipFile(path, 'w') as out:
        for name in archive.namelist():
            is_pickle = name.endswith('/data.pkl')
            out.writestr(name, pickled if is_pickle else archive.read(name))


INTERFACE = {'data': (0, False), 'shape': (8,), 'typestr': '<i8', 'version': 3}
MULTIARRAY = importlib.import_module(
    'numpy.core.multiarray' if np.__version__ < '2' else 'numpy._core.multiarray'
)


def history(**state: Any) -> Reduced:
    plain = {
        '_log_history': np.ones(1),
        '_count_history': np.ones(1),
        'max_length': 9,
    }
    return Reduced(HistoryBuffer, (), {**plain, **state})


# What pickles, by protocol 2; each is a value of a checkpoint.
VALUES: dict[str, Callable[[Path], Any]] = {
    'call': bomb,
    'nested call': lambda m: {'state_dict': {'w': [bomb(m)]}},
    'eval': lambda m: Reduced(eval, (f'__import__("os").mkdir({str(m)!r})',)),
    'method of a buffer': lambda m: Reduced(getattr, (HistoryBuffer, '__init__')),
    'array interface': lambda m: Reduced(
        OrderedDict, (), {'__array_interface__': INTERFACE}
    ),
    'interface in a buffer': lambda m: history(__array_interface__=INTERFACE),
    'buffer of objects': lambda m: history(_log_history=[1.0]),
    'state of slots': lambda m: Reduced(OrderedDict, (), (None, {'__class__': dict})),
    'state of a class': lambda m: Reduced(
        Reduced, (HistoryBuffer, ()), {'mean': 'replaced'}
    ),
    'object array': lambda m: np.array([bomb(m)], dtype=object),
    'array of a buffer': lambda m: Reduced(
        np.ndarray, ((8,), 'i8', b'12345678', 0, (1 << 40,))
    ),
    'array of no bytes': lambda m: Reduced(
        MULTIARRAY._reconstruct,
        (np.ndarray, (0,), b'b'),
        (1, (1 << 32, 1 << 32), np.dtype('i8'), False, b''),
    ),
    'short scalar': lambda m: Reduced(MULTIARRAY.scalar, (np.dtype('f8'), b'1')),
    'encoding': lambda m: Reduced(__import__('_codecs').encode, ('a', 'rot13')),
    'module': lambda m: nn.Linear(2, 3),
    'numpy file': lambda m: Reduced(np.fromfile, (str(m),)),
    'torch.load': lambda m: Reduced(torch.load, (str(m),)),
    'torch.hub': lambda m: Reduced(torch.hub.load, (str(m), 'x')),
}
# Raw pickles: opcodes that Python's own pickler does not write here.
OPCODES = {
    'INST': b"(S'%s'\nios\nmkdir\n.",
    'OBJ': b"(cos\nmkdir\nS'%s'\no.",
    'STACK_GLOBAL': b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93(S'%s'\ntR.",
    'NEWOBJ_EX': b"\x80\x04cos\nmkdir\n(S'%s'\nt}\x92.",
    'EXT1': b"\x80\x02\x82\x01(S'%s'\ntR.",
    'PERSID': b'P%s\n.',
}


@pytest.mark.parametrize('zip_format', [True, False])
@pytest.mark.parametrize('name', VALUES)
def test_values(name: str, zip_format: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / 'file.pth', tmp_path / 'ran'
    methods = dict(HistoryBuffer()._statistics_methods)
    held = {'state_dict': WEIGHTS, 'x': VALUES[name](marker)}
    torch.save(held, path, _use_new_zipfile_serialization=zip_format)
    with pytest.raises(ValueError, match=r'file\.pth'):
        read_checkpoint(path)
    assert not marker.exists()
    assert HistoryBuffer._statistics_methods == methods


@pytest.mark.parametrize('name', OPCODES)
def test_opcodes(name: str, tmp_path: Path) -> None:
    path, marker = tmp_path / 'file.pth', tmp_path / 'ran'
    zipped(OPCODES[name] % str(marker).encode(), path)
    with pytest.raises(ValueError, match=r'file\.pth'):
        read_checkpoint(path)
    assert not marker.exists()


def test_a_buffer_changes_no_other(tmp_path: Path) -> None:
    """The state of a buffer lists methods, which all buffers would share."""
    path = tmp_path / 'file.pth'
    torch.save({'x': history(statistics_methods={'mean': 'max'})}, path)
    read = read_checkpoint(path)['x']
    assert read.statistics('mean') == 1 and read.max_length == 9
    assert HistoryBuffer._statistics_methods['mean'] is HistoryBuffer.mean


def test_parameters_have_no_hooks(tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    hooks = OrderedDict(a=HistoryBuffer.mean)
    torch.save(
        {'w': Reduced(torch._utils._rebuild_parameter, (torch.ones(1), True, hooks))},
        path,
    )
    assert not read_checkpoint(path)['w']._backward_hooks


def test_more_elements_than_the_file_has(tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    torch.save({'w': torch.arange(4.0)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in parts.items():
            if name.endswith('/data.pkl'):
                assert data.count(b'K\x04') == 2
                data = data.replace(b'K\x04', b'J\x00\x00\x00\x10')
            archive.writestr(name, data)
    with pytest.raises(ValueError, match='cannot be read'):
        read_checkpoint(path)


def test_a_small_file_of_much_memory(tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    torch.save({'w': torch.zeros(2**20)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match='a compressed member'):
        read_checkpoint(path)


@pytest.mark.parametrize('kind', ['SYMTYPE', 'LNKTYPE', 'FIFOTYPE', 'CHRTYPE', 'other'])
def test_members_of_a_tar_file(kind: str, tmp_path: Path) -> None:
    path, secret = tmp_path / 'file.pth', tmp_path / 'secret'
    secret.write_text('x')
    write_tar(tar_parts({'w': torch.ones(2)}), path)
    member = tarfile.TarInfo('storages' if kind != 'other' else '../escaped')
    if kind != 'other':
        member.type, member.linkname = getattr(tarfile, kind), str(secret)
    with tarfile.open(path, 'a:') as archive:
        archive.addfile(member)
    with pytest.raises(
        ValueError, match=r"the archive member '(storages|\.\./escaped)'"
    ):
        read_checkpoint(path)


@pytest.mark.parametrize('behind', [b'PK\5\6' + bytes(8), bytes(30), b'PK\5\6\0'])
def test_a_zip_file_with_more_behind_it(behind: bytes, tmp_path: Path) -> None:
    """Python and torch could find different directories in it, or none."""
    path = tmp_path / 'file.pth'
    torch.jit.script(nn.Linear(2, 3)).save(path)
    path.write_bytes(path.read_bytes() + behind)
    with pytest.raises(ValueError, match=r'file\.pth.*cannot be read'):
        read_checkpoint(path)


@pytest.mark.parametrize('kind', ['SYMTYPE', 'LNKTYPE', 'FIFOTYPE'])
def test_a_tar_file_with_a_zip_file_behind_it(kind: str, tmp_path: Path) -> None:
    """By its end it is a zip file, but torch reads it from the beginning."""
    path, victim = tmp_path / 'file.pth', tmp_path / 'victim'
    victim.write_text('x')
    victim.chmod(0o600)
    write_tar(tar_parts({'w': torch.ones(2)}), path)
    member = tarfile.TarInfo('storages')
    member.type, member.linkname = getattr(tarfile, kind), str(victim)
    member.mode = 0o666
    with tarfile.open(path, 'a:') as archive:
        archive.addfile(member)
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    path.write_bytes(path.read_bytes() + buffer.getvalue())
    with pytest.raises(ValueError, match="the archive member 'storages'"):
        read_checkpoint(path)
    assert victim.stat().st_mode & 0o777 == 0o600


def deep(depth: int) -> bytes:
    """A dict whose key is nested too deeply to hash."""
    return b'\x80\x02}K\x01' + b'\x85' * depth + b'K\x01s.'


def doubled(times: int) -> bytes:
    """A dict whose key takes 2 ** times steps to hash."""
    return b'\x80\x02}K\x01' + b'2\x86' * times + b'K\x01s.'


@pytest.mark.parametrize('pickled', [deep(10**6), doubled(60)], ids=['deep', 'doubled'])
def test_keys_that_cannot_be_hashed(pickled: bytes, tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    zipped(pickled, path)
    with pytest.raises(ValueError, match='holds a tuple as a key'):
        read_checkpoint(path)


def test_text_of_negative_size(tmp_path: Path) -> None:
    state = (3, '|', None, None, None, -1, -1, 0)
    dtype = Reduced(np.dtype, ('S10', False, True), state)
    path = tmp_path / 'file.pth'
    torch.save({'x': Reduced(MULTIARRAY.scalar, (dtype, b'0123456789'))}, path)
    with pytest.raises(ValueError, match='a state of'):
        read_checkpoint(path)


def test_a_small_number_repeated_a_trillion_times(tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    torch.save({'x': torch.ones(1).expand(1 << 20, 1 << 20)}, path)
    with pytest.raises(ValueError, match='repeated numbers'):
        read_checkpoint(path)


def test_storages_that_an_old_file_does_not_list(tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    torch.save(WEIGHTS, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    end = content.rindex(b'\x80\x02]')  # the list of keys, then the numbers
    path.write_bytes(content[:end] + pickle.dumps([], 2))
    with pytest.raises(ValueError, match='lacks the numbers'):
        read_checkpoint(path)


def test_files_that_are_none(tmp_path: Path) -> None:
    fifo = tmp_path / 'fifo.pth'
    os.mkfifo(fifo)
    with pytest.raises(FileNotFoundError, match='is no regular file'):
        read_checkpoint(fifo)
    damaged = tmp_path / 'damaged.pth'
    torch.save(WEIGHTS, damaged)
    content = bytearray(damaged.read_bytes())
    directory = content.rfind(b'PK\x01\x02')
    content[directory : directory + 4] = b'PK\x00\x00'
    damaged.write_bytes(content)
    with pytest.raises(ValueError, match=r'damaged\.pth .*cannot be read'):
        read_checkpoint(damaged)


def test_a_file_of_two_formats(tmp_path: Path) -> None:
    """The same bytes are safetensors, and a zip archive that calls a function."""
    pytest.importorskip('safetensors')
    marker = tmp_path / 'ran'
    buffer = io.BytesIO()
    torch.save({'w': bomb(marker)}, buffer)
    data = buffer.getvalue()
    header = json.dumps(
        {'w': {'dtype': 'U8', 'shape': [len(data)], 'data_offsets': [0, len(data)]}}
    ).encode()
    content = len(header).to_bytes(8, 'little') + header + data
    (tmp_path / 'a.safetensors').write_bytes(content)
    (tmp_path / 'a.pth').write_bytes(content)
    assert list(read_checkpoint(tmp_path / 'a.safetensors')) == ['w']
    for door in (
        read_checkpoint,
        lambda path: load_checkpoint(nn.Linear(1, 1), str(path)),
    ):
        with pytest.raises(ValueError, match=r'a\.pth'):
            door(tmp_path / 'a.pth')
    assert not marker.exists()


# Doors


@pytest.fixture
def hostile(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint that would make a folder, and the folder."""
    path, marker = tmp_path / 'hostile.pth', tmp_path / 'ran'
    held = {'state_dict': WEIGHTS, 'meta': {}, 'message_hub': bomb(marker)}
    torch.save(held, path)
    return path, marker


def network(**backbone: Any) -> dict[str, Any]:
    return dict(
        type='ImageClassifier',
        data_preprocessor=dict(type='ClsDataPreprocessor', mean=[99], std=[55]),
        backbone=dict(
            type='mmkd_logit.CIFARResNet', arch='resnet8', in_channels=1, **backbone
        ),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(
            type='LinearClsHead',
            num_classes=10,
            in_channels=64,
            loss=dict(type='CrossEntropyLoss'),
        ),
    )


def config(folder: Path, student: dict, **run: Any) -> Any:
    teacher = dict(model=network(), checkpoint=None)
    (folder / 'kd.py').write_text(
        f"""
default_scope = 'mmpretrain'
train_dataloader = dict(batch_size=8, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='mmkd_logit.Digits', split='train', indices=8,
        pipeline=[dict(type='PackInputs')]))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01))
model = dict(type='mmkd_logit.LogitDistiller', student={student!r},
    teacher={teacher!r}, losses=dict(kd=dict(type='KDLoss')))
"""
    )
    return make_config(folder / 'kd.py', folder / 'work', run)


def pretrained(path: Path) -> dict[str, Any]:
    return dict(type='Pretrained', checkpoint=str(path))


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize(
    'door', ['student', 'backbone', 'prefix', 'load_from', 'resume', 'teacher', 'check']
)
def test_doors(door: str, hostile: tuple[Path, Path], tmp_path: Path) -> None:
    path, marker = hostile
    student, run = network(), {}
    if door == 'student':
        student['init_cfg'] = pretrained(path)
    elif door == 'backbone':
        student = network(init_cfg=pretrained(path))
    elif door == 'prefix':
        student = network(init_cfg={**pretrained(path), 'prefix': 'backbone.'})
    elif door == 'load_from':
        run = {'load_from': str(path)}
    elif door == 'resume':
        run = {'load_from': str(path), 'resume': True}
    elif door == 'teacher':
        run = {'model.teacher.checkpoint': str(path)}
    with pytest.raises(ValueError, match=r'hostile\.pth holds .*mkdir'):
        if door == 'check':
            check_resume(str(path), network())
        else:
            build_runner(config(tmp_path, student, **run)).train()
    assert not marker.exists()


class Liar(BaseHTTPRequestHandler):
    """Answers differently each time."""

    answers: list[tuple[bytes, int]]

    def do_GET(self) -> None:
        content, length = self.answers.pop(0) if self.answers else (b'', 0)
        self.send_response(200)
        self.send_header('Content-Length', str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def liar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'mmengine'))
    monkeypatch.setenv('no_proxy', '*')
    handler = type('Handler', (Liar,), {'answers': []})
    server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.answers = handler.answers
    server.url = f'http://127.0.0.1:{server.server_port}/model.pth'
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.filterwarnings('ignore:.*random weights')
@pytest.mark.parametrize('door', ['load_from', 'resume', 'init_cfg'])
def test_a_server_that_changes_its_answer(
    door: str, liar: Any, hostile: tuple[Path, Path], tmp_path: Path
) -> None:
    """What was downloaded and checked is what is loaded: nothing is asked twice."""
    path, marker = hostile
    init_default_scope('mmpretrain')
    good = io.BytesIO()
    model = MODELS.build(network())
    held = {'meta': {'epoch': 1, 'iter': 1}, 'message_hub': {}}
    torch.save({'state_dict': model.state_dict(), **held}, good)
    evil = path.read_bytes()
    liar.answers += [(good.getvalue(), len(good.getvalue())), *[(evil, len(evil))] * 3]
    if door == 'init_cfg':
        student = {**network(), 'init_cfg': pretrained(liar.url)}
        run = build_runner(config(tmp_path, student))
    else:
        run = build_runner(config(tmp_path, network(), load_from=liar.url))
    run.train()
    assert len(liar.answers) == 3 and not marker.exists()


def test_a_download_that_is_cut_short(liar: Any, tmp_path: Path) -> None:
    """It is not kept, and neither is what cannot be read."""
    whole = io.BytesIO()
    torch.save(WEIGHTS, whole)
    content = whole.getvalue()
    liar.answers += [
        (content[:-9], len(content)),
        (content[:-9], len(content) - 9),
        (content, len(content)),
    ]
    with pytest.raises(FileNotFoundError, match='cut short after|IncompleteRead'):
        read_checkpoint(liar.url)
    with pytest.raises(ValueError, match='cannot be read'):
        read_checkpoint(liar.url)
    assert torch.equal(read_checkpoint(liar.url)['fc.weight'], WEIGHTS['fc.weight'])
    (kept,) = (tmp_path / 'cache' / 'hub' / 'checkpoints').iterdir()
    assert kept.name.endswith('-model.pth')


@pytest.mark.parametrize('prefix', ['torchvision', 'open-mmlab', 'mmcls', 'pavi'])
def test_names_that_nobody_knows(prefix: str, liar: Any) -> None:
    with pytest.raises(ValueError, match=f'{prefix}://nothing.*not known'):
        load_checkpoint(nn.Linear(1, 1), f'{prefix}://nothing')


def test_names_of_a_list(liar: Any, hostile: tuple[Path, Path], tmp_path: Path) -> None:
    path, marker = hostile
    home = tmp_path / 'mmengine'
    home.mkdir()
    (home / 'hostile.pth').write_bytes(path.read_bytes())
    listed = {'net': 'hostile.pth', 'far': liar.url}
    (home / 'open_mmlab.json').write_text(json.dumps(listed))
    liar.answers += [(path.read_bytes(), path.stat().st_size)]
    for name in listed:
        with pytest.raises(ValueError, match='holds .*mkdir'):
            load_checkpoint(nn.Linear(1, 1), f'open-mmlab://{name}')
    assert not marker.exists()


# Exported programs


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 4, 3), nn.Linear(4, 10)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {'logits': self.fc(self.conv(images).mean((2, 3)))}


@pytest.fixture(scope='module')
def program(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a program."""
    path = tmp_path_factory.mktemp('program') / 'net.pt2'
    batch = torch.export.Dim('batch')
    exported = torch.export.export(
        Network().eval(), (torch.zeros(2, 3, 8, 8),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(exported, path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


ENUM = {'__enum__': True, 'fqn': 'os:mkdir', 'name': 'x'}


def spec(kind: str | None, context: Any) -> str:
    leaf = {'type': None, 'context': None, 'children_spec': []}
    context = context if isinstance(context, str) else json.dumps(context)
    return json.dumps([1, {'type': kind, 'context': context, 'children_spec': [leaf]}])


def change_signature(**parts: Any) -> Callable[[dict], None]:
    def change(model: dict) -> None:
        calls = model['graph_module']['module_call_graph']
        calls[0]['signature'].update(parts)

    return change


def rename_input(name: str) -> Callable[[dict], None]:
    def change(model: dict) -> None:
        text = json.dumps(model).replace('"images"', json.dumps(name))
        model.clear()
        model.update(json.loads(text))

    return change


def change_node(**parts: Any) -> Callable[[dict], None]:
    def change(model: dict) -> None:
        model['graph_module']['graph']['nodes'][0].update(parts)

    return change


CODE = "images=__import__('os').mkdir('ran')"
PROGRAMS: dict[str, Callable[[dict], Any]] = {
    'enum in a key': change_signature(out_spec=spec('builtins.dict', [ENUM])),
    'enum': change_signature(out_spec=spec('builtins.dict', ENUM)),
    'default dict': change_signature(
        out_spec=spec(
            'collections.defaultdict',
            {'default_factory_module': 'os', 'default_factory_name': 'x'},
        )
    ),
    'escaped': change_signature(
        out_spec=spec(
            'collections.defaultdict', '{"default\\u005ffactory_module": "os"}'
        )
    ),
    'named tuple': change_signature(in_spec=spec('collections.namedtuple', 'os.mkdir')),
    'spec of other protocols': change_signature(in_spec='[2, {}]'),
    'input name': rename_input(CODE),
    'argument name': change_signature(forward_arg_names=[CODE]),
    'target': change_node(target='torch.hub.load'),
    'file': change_node(target='torch.ops.aten.from_file.default'),
    'file of an output': change_node(target='torch.ops.aten.save.out'),
    'path': change_node(
        inputs=[{'name': 'a', 'arg': {'as_string': '/etc/x'}, 'kind': 1}]
    ),
    'escaped target': change_node(target='torch.ops.aten.relu.default\n.x'),
    'node name': change_node(name=CODE),
    'keyword': change_node(inputs=[{'name': CODE, 'arg': {'as_int': 1}, 'kind': 2}]),
    'operator': change_node(
        inputs=[{'name': 'a', 'arg': {'as_operator': 'os.mkdir'}, 'kind': 1}]
    ),
    'size': lambda model: model['graph_module']['graph']['tensor_values'].update(
        x={'sizes': [{'as_expr': {'expr_str': "open('ran', 'w')"}}]}
    ),
    'tower': lambda model: model['graph_module']['graph']['tensor_values'].update(
        x={'sizes': [{'as_expr': {'expr_str': '9**9**9**9'}}]}
    ),
    'tower of powers': lambda model: model['graph_module']['graph'][
        'tensor_values'
    ].update(
        x={'sizes': [{'as_expr': {'expr_str': 'Pow(Integer(9), Pow(9, Integer(9)))'}}]}
    ),
    'own objects': lambda model: model['graph_module']['graph'].update(
        custom_obj_values={'a': {'name': 'a', 'class_fqn': 'os.mkdir x'}}
    ),
}


def save_program(parts: dict[str, bytes], path: Path, **options: Any) -> None:
    with zipfile.ZipFile(path, 'w', **options) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


@NEEDS_EXPORT
@pytest.mark.parametrize('name', PROGRAMS)
def test_programs(
    name: str,
    program: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = dict(program)
    (key,) = (key for key in parts if key.endswith('models/model.json'))
    model = json.loads(parts[key])
    PROGRAMS[name](model)
    parts[key] = json.dumps(model).encode()
    assert parts[key] != program[key]
    check_program(parts, tmp_path)


def check_program(parts: dict[str, bytes], folder: Path, **options: Any) -> None:
    path = folder / 'net.pt2'
    save_program(parts, path, **options)
    init_default_scope('mmpretrain')
    with pytest.raises(ValueError, match=r'net\.pt2 .*(could run code|cannot be read)'):
        Teacher(exported=str(path), preprocess='student').load(MODELS.build(network()))
    assert not (folder / 'ran').exists()


@NEEDS_EXPORT
@pytest.mark.parametrize(
    'name', ['pickled weight', 'opaque object', 'library', 'bomb', 'twice']
)
def test_members_of_a_program(
    name: str, program: dict[str, bytes], tmp_path: Path
) -> None:
    parts, root = dict(program), next(iter(program)).partition('/')[0]
    weights = f'{root}/data/weights/model_weights_config.json'
    config = json.loads(parts[weights])
    first = next(iter(config['config'].values()))
    options = {}
    if name == 'pickled weight':
        first['use_pickle'] = True
        parts[f'{root}/data/weights/weight_0'] = pickle.dumps(bomb(tmp_path / 'ran'))
    elif name == 'opaque object':
        first['path_name'] = 'opaque_obj_0'
        opaque = f'{root}/data/constants/opaque_obj_0'
        parts[opaque] = pickle.dumps(bomb(tmp_path / 'ran'))
    elif name == 'library':
        parts[f'{root}/data/aotinductor/model/model.so'] = b''
    elif name == 'bomb':
        parts[f'{root}/data/weights/weight_0'] = bytes(2**22)
        options = {'compression': zipfile.ZIP_DEFLATED}
    else:
        parts[f'other/{next(iter(program)).partition("/")[2]}'] = b''
    parts[weights] = json.dumps(config).encode()
    check_program(parts, tmp_path, **options)


@NEEDS_EXPORT
def test_checks_and_notes_of_a_program_are_left_out(
    program: dict[str, bytes], tmp_path: Path
) -> None:
    """The same logits come out, and no code of the file is used."""
    parts = dict(program)
    (key,) = (key for key in parts if key.endswith('models/model.json'))
    model = json.loads(parts[key])
    model['guards_code'] = ["__import__('os').mkdir('ran')"]
    for node in model['graph_module']['graph']['nodes']:
        node['metadata'] = {'source_fn_stack': 'a,torch.hub.load'}
    parts[key] = json.dumps(model).encode()
    images, logits = torch.randn(3, 3, 8, 8), []
    student = MODELS.build(network())
    for number, each in enumerate((program, parts)):
        path = tmp_path / f'{number}.pt2'
        save_program(each, path)
        teacher = Teacher(exported=str(path), preprocess='student')
        teacher.load(student)
        logits.append(teacher(images))
    assert torch.equal(*logits)
    assert not Path('ran').exists()
