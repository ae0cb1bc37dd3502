"""Checkpoints of every kind: of both numpys, hostile, damaged, downloaded."""

from __future__ import annotations

import argparse
import hashlib
import os
import threading
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from old_torch import dumps, tar_parts, write_tar
from torch import nn

from mmkd_logit.checkpoint import (
    class_names,
    load_strictly,
    read_checkpoint,
    weights_of,
)

WEIGHTS = {'fc.weight': torch.arange(6.0).view(2, 3), 'fc.bias': torch.zeros(2)}


def replace_in_pickle(path: Path, old: bytes, new: bytes) -> int:
    """Change names in the pickle of a checkpoint; return how many there were."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    count = 0
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in parts.items():
            if name.endswith('/data.pkl'):
                count, data = data.count(old), data.replace(old, new)
            archive.writestr(name, data)
    return count


def training_checkpoint() -> dict[str, Any]:
    """What mmengine saves in training, with numpy values of all plain kinds."""
    hub = MessageHub('test_checkpoint')
    hub.update_scalar('train/loss', np.float64(0.5))
    hub.update_scalar('train/loss', np.float64(0.25))
    palette = np.array([[128, 64, 128], [0, 0, 142]], np.uint8)
    return {
        'state_dict': WEIGHTS,
        'message_hub': hub.state_dict(),
        'param_schedulers': [
            {'milestones': Counter({15: 1, 22: 1})},
            {'anneal': OneCycleParamScheduler._annealing_cos},
        ],
        'meta': {
            'dataset_meta': {'classes': ('a', 'b'), 'palette': palette},
            'best': np.float32(71.5),
            'epoch': np.int64(3),
            'name': np.str_('run'),
            'done': np.bool_(True),
            'rates': np.linspace(0, 1, 3),
        },
    }


@pytest.mark.parametrize('written_by', ['numpy 1', 'numpy 2'])
@pytest.mark.parametrize('zipped', [True, False])
def test_training_logs_of_either_numpy(
    zipped: bool, written_by: str, tmp_path: Path
) -> None:
    path = tmp_path / 'epoch_3.pth'
    torch.save(training_checkpoint(), path, _use_new_zipfile_serialization=zipped)
    names = [b'cnumpy.core.multiarray\n', b'cnumpy._core.multiarray\n']
    old, new = names if written_by == 'numpy 2' else reversed(names)
    here = b'.core' if np.__version__.startswith('1.') else b'_core'
    if zipped:
        assert (replace_in_pickle(path, old, new) > 0) == (here in old)
    else:
        path.write_bytes(path.read_bytes().replace(old, new))
    read = read_checkpoint(path)
    assert torch.equal(read['state_dict']['fc.weight'], WEIGHTS['fc.weight'])
    logged = read['message_hub']['log_scalars']['train/loss']
    assert isinstance(logged, HistoryBuffer) and logged.mean() == 0.375
    assert read['param_schedulers'][0]['milestones'][22] == 1
    assert read['param_schedulers'][1]['anneal'](1.0, 0.0, 1.0) == 0
    meta = read['meta']
    assert meta['dataset_meta']['palette'].tolist() == [[128, 64, 128], [0, 0, 142]]
    assert meta['best'] == 71.5 and meta['epoch'] == 3 and meta['done']
    assert meta['name'] == 'run' and meta['rates'].tolist() == [0, 0.5, 1]
    assert class_names(read) == ('a', 'b')


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.marker),)


class Attribute:
    """An attribute of something, by ``getattr``."""

    def __init__(self, owner: Any, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple:
        return getattr, (self.owner, self.name)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize(
    ('make', 'name'),
    [
        (Bomb, 'mkdir'),
        (lambda _: np.array([Bomb(_)], dtype=object), 'numpy.dtype object'),
        (lambda _: np.zeros(1, [('a', 'i4')]), 'numpy.dtype .V4'),
        (lambda _: argparse.Namespace(lr=0.1), 'argparse.Namespace'),
        (lambda _: Attribute(HistoryBuffer, '__init__'), 'HistoryBuffer.__init__'),
        (lambda _: Attribute(np.ndarray, 'tofile'), 'ndarray.tofile'),
        (lambda _: nn.Linear(2, 3), 'torch.nn.modules.linear.Linear'),
    ],
)
def test_what_could_run_code_is_refused_by_name(
    make: Callable[[Path], Any], name: str, zipped: bool, tmp_path: Path
) -> None:
    path, marker = tmp_path / 'file.pth', tmp_path / 'ran'
    held = {'state_dict': WEIGHTS, 'args': make(marker)}
    torch.save(held, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=f'{name} besides its weights.*not loaded'):
        read_checkpoint(path)
    assert not marker.exists()


def test_no_class_is_changed_by_a_file(tmp_path: Path) -> None:
    """The state that pickle gives to a value must not be that of a class."""
    mean = HistoryBuffer.mean
    path = tmp_path / 'file.pth'
    # GLOBAL HistoryBuffer, (None, {'mean': 'replaced'}), BUILD, STOP
    patch = (
        b'\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n'
        b'(N}U\x04meanU\x08replacedstb.'
    )
    torch.save({'a': 1}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for key, data in parts.items():
            archive.writestr(key, patch if key.endswith('/data.pkl') else data)
    with pytest.raises(ValueError):
        read_checkpoint(path)
    assert HistoryBuffer.mean is mean


class Forged:
    """An array whose type is changed to one of pointers when it is unpickled."""

    def __init__(self, code: str, state: tuple) -> None:
        self.code, self.state = code, state

    def __reduce__(self) -> tuple:
        return np.dtype, (self.code, False, True), self.state


@pytest.mark.parametrize(
    ('code', 'state'),
    [
        ('O8', (3, '|', None, None, None, -1, -1, 0x3D)),
        ('u8', (3, '<', None, None, None, -1, -1, 0x1)),
        ('S8', (3, '|', None, None, None, 4096, 1, 0)),
        ('u8', (3, '<', None, ('a',), {'a': (np.dtype('u8'), 0)}, -1, -1, 0)),
    ],
)
def test_no_pointer_is_forged(code: str, state: tuple, tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    torch.save({'a': Forged(code, state)}, path)
    with pytest.raises(ValueError, match=r'not loaded|cannot be read'):
        read_checkpoint(path)


@pytest.mark.parametrize('zipped', [True, False])
def test_damaged_files(zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / 'file.pth'
    torch.save(training_checkpoint(), path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for size in (0, 1, 40, len(whole) - 10):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=rf'\({size} bytes\) cannot be read'):
            read_checkpoint(path)
    for text in (
        b'<html>404 not found</html>',
        b'version https://git-lfs',
        b'\x80\x02.',
    ):
        path.write_bytes(text)
        with pytest.raises(ValueError, match='not a checkpoint at all'):
            read_checkpoint(path)


def test_tar_files_of_the_first_torch(tmp_path: Path) -> None:
    path = tmp_path / 'resnet34-333f7ec4.pth'
    parameters = {name: nn.Parameter(value) for name, value in WEIGHTS.items()}
    held = OrderedDict(parameters, mean=torch.arange(3.0))
    parts = tar_parts(held)
    write_tar(parts, path)
    found = weights_of(read_checkpoint(path))
    assert list(found) == list(held)
    for name, value in held.items():
        assert torch.equal(found[name], value) and found[name].device.type == 'cpu'
    marker = tmp_path / 'ran'
    for part in parts:  # each is a pickle
        write_tar({**parts, part: dumps(Bomb(marker))}, path)
        with pytest.raises(ValueError, match='mkdir besides its weights'):
            read_checkpoint(path)
        write_tar({**parts, part: parts[part][:-5]}, path)
        with pytest.raises(ValueError, match='cannot be read; it may be truncated'):
            read_checkpoint(path)
    write_tar(parts, path)
    os.truncate(path, 2000)
    with pytest.raises(ValueError, match=r'\(2000 bytes\) cannot be read'):
        read_checkpoint(path)
    assert not marker.exists()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / 'model.pt'
    torch.jit.script(nn.Linear(2, 3)).save(str(path))
    with pytest.raises(
        ValueError, match=r'TorchScript archive, which holds code.*torch'
    ):
        read_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match='holds a list, but expected a dict'):
        read_checkpoint(path)
    with pytest.raises(FileNotFoundError, match=r"'no.pth' does not exist.*Do this\."):
        read_checkpoint('no.pth', 'Do this.')
    with pytest.raises(FileNotFoundError, match='is a folder'):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize('key', ['state_dict', 'model', None])
def test_weights_of_every_form(key: str | None) -> None:
    wrapped = {f'module.{name}': value for name, value in WEIGHTS.items()}
    for weights in (WEIGHTS, wrapped):
        found = weights_of({'epoch': 240, key: weights} if key else weights)
        assert list(found) == list(WEIGHTS)


def test_no_weights() -> None:
    for held in (
        {'epoch': 3},
        {'state_dict': [1]},
        {'model': {'a': 'b'}},
        {'model': 'x'},
    ):
        with pytest.raises(ValueError, match=r'a.pth holds no weights where.*keys'):
            weights_of(held, 'a.pth')


def test_names_of_other_code() -> None:
    model = nn.Sequential()
    model.add_module('head', nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r'No name in the file is known to the model'):
        load_strictly(model, WEIGHTS, 'teacher')


class Server(SimpleHTTPRequestHandler):
    """Serves a folder, and counts."""

    asked: list[str]

    def log_message(self, *args: Any) -> None:
        self.asked.append(self.path)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('no_proxy', '*')
    folder = tmp_path / 'served'
    for name, number in (('a', 1.0), ('b', 2.0)):
        (folder / name).mkdir(parents=True)
        torch.save({'w': torch.tensor(number)}, folder / name / 'model.pth')
    handler = type('Handler', (Server,), {'asked': []})
    httpd = ThreadingHTTPServer(
        ('127.0.0.1', 0), partial(handler, directory=str(folder))
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    httpd.folder, httpd.asked = folder, handler.asked
    httpd.url = f'http://127.0.0.1:{httpd.server_port}'
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def test_files_of_one_name_at_two_addresses(server: Any) -> None:
    for _ in range(2):
        for name, number in (('a', 1.0), ('b', 2.0)):
            read = read_checkpoint(f'{server.url}/{name}/model.pth')
            assert read['w'] == number
    assert sorted(server.asked) == ['/a/model.pth', '/b/model.pth']


def test_a_hash_in_the_name_is_checked(server: Any, tmp_path: Path) -> None:
    source = server.folder / 'a' / 'model.pth'
    digits = hashlib.sha256(source.read_bytes()).hexdigest()
    right, wrong = f'net-{digits[:8]}.pth', 'net-00000000.pth'
    for name in (right, wrong):
        (server.folder / name).write_bytes(source.read_bytes())
    assert read_checkpoint(f'{server.url}/{right}')['w'] == 1
    for _ in range(2):  # what is wrong is not kept
        with pytest.raises(ValueError, match=r'match the hash in its name.*00000000'):
            read_checkpoint(f'{server.url}/{wrong}')
    assert server.asked.count(f'/{wrong}') == 2
    # A file that another library has downloaded is taken if it is the right one.
    cache = tmp_path / 'cache' / 'hub' / 'checkpoints'
    for file in cache.iterdir():
        file.unlink()
    (cache / right).write_bytes(source.read_bytes())
    assert read_checkpoint(f'http://127.0.0.1:1/{right}')['w'] == 1
    (cache / right).write_bytes(b'something else')
    with pytest.raises(FileNotFoundError, match='could not be downloaded'):
        read_checkpoint(f'http://127.0.0.1:1/{right}')


def test_addresses_that_do_not_work(server: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r'c.pth could not be downloaded.*404'):
        read_checkpoint(f'{server.url}/c.pth')
    with pytest.raises(ValueError, match=r'path of a file or an http'):
        read_checkpoint('ftp://example.org/x.pth')


def download_on_a_rank(rank: int, url: str, cwd: Path) -> None:
    os.environ['LOCAL_RANK'] = str(rank)
    dist.init_process_group('gloo', f'file://{cwd}/store', rank=rank, world_size=2)
    found = read_checkpoint(f'{url}/a/model.pth')['w'].item()
    try:  # where the one that downloads fails, the other does not wait for ever
        read_checkpoint(f'{url}/c.pth')
    except FileNotFoundError as error:
        torch.save((found, str(error)), cwd / f'{rank}.pth')
    dist.destroy_process_group()


def test_one_process_of_a_node_downloads(server: Any, tmp_path: Path) -> None:
    mp.spawn(download_on_a_rank, (server.url, tmp_path), nprocs=2)
    assert server.asked.count('/a/model.pth') == 1
    for rank, message in enumerate(['could not be downloaded', 'does not exist']):
        found, said = torch.load(tmp_path / f'{rank}.pth', weights_only=True)
        assert found == 1
        assert message in said


def test_an_error_without_a_sentence_is_named(tmp_path: Path) -> None:
    path = tmp_path / 'x.pth'
    path.write_bytes(b'\x80\x02h\x23.')  # asks for what was never stored
    with pytest.raises(ValueError, match=r'not a checkpoint at all: \w+'):
        read_checkpoint(path)
