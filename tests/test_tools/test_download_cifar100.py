"""CIFAR-100 comes from a server, is checked, and is not fetched again."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from command_lines import call, last_words
from make_cifar100_folder import make_cifar100_folder
from mmpretrain.datasets import CIFAR100

TOOL = 'dataset_converters/download_cifar100'


class Handler(BaseHTTPRequestHandler):
    """Sends a file, or the part of it that it is told to send."""

    content = b''
    sent = slice(None)
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        self.send_response(200)
        self.send_header('Content-Length', str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[self.sent])

    def log_message(self, *args: object) -> None:
        """Nothing to the terminal."""


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Handler]]:
    """What answers in place of the real server, with a small archive of its form."""
    make_cifar100_folder(tmp_path)
    folder = tmp_path / CIFAR100.base_folder
    archive = tmp_path / CIFAR100.filename
    with tarfile.open(archive, 'w:gz') as tar:
        tar.add(folder, folder.name)
    handler = type('OfThisTest', (Handler,), dict(requests=[]))
    handler.content = archive.read_bytes()
    server = HTTPServer(('127.0.0.1', 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    address = f'http://127.0.0.1:{server.server_port}/{archive.name}'
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(CIFAR100, 'url', address)
    monkeypatch.setattr(CIFAR100, 'tgz_md5', md5(archive))
    monkeypatch.setattr(CIFAR100, 'train_list', [['train', md5(folder / 'train')]])
    monkeypatch.setattr(CIFAR100, 'test_list', [['test', md5(folder / 'test')]])
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_download_once(server: type[Handler], tmp_path: Path) -> None:
    root = tmp_path / 'data' / 'cifar100'
    call(TOOL, root)
    call(TOOL, root)
    assert server.requests == [f'/{CIFAR100.filename}']
    dataset = CIFAR100(str(root), 'train', download=False)
    assert len(dataset) == 80
    assert dataset.get_gt_labels().tolist() == list(range(80))
    for name in ('train', 'test', 'meta'):
        path = Path(CIFAR100.base_folder, name)
        assert (root / path).read_bytes() == (tmp_path / path).read_bytes()


def test_an_altered_file_is_replaced(server: type[Handler], tmp_path: Path) -> None:
    root = tmp_path / 'data'
    call(TOOL, root)
    altered = root / CIFAR100.base_folder / 'test'
    altered.write_bytes(b'else')
    # The archive is still there, and right.
    call(TOOL, root)
    assert len(server.requests) == 1
    assert md5(altered) == CIFAR100.test_list[0][1]


@pytest.mark.parametrize('sent', [slice(1000), slice(None, None, -1)])
def test_an_archive_that_is_cut_short_or_another(
    sent: slice, server: type[Handler], tmp_path: Path
) -> None:
    server.sent = sent
    root = tmp_path / 'data'
    said = last_words(TOOL, root)
    assert said.startswith(
        f'What came from {CIFAR100.url} is not CIFAR-100, by its MD5'
    )
    assert f'so that {root / CIFAR100.base_folder} is there' in said
    assert list(root.iterdir()) == []
    # The next attempt takes it anew.
    server.sent = slice(None)
    call(TOOL, root)
    assert len(CIFAR100(str(root), 'test', download=False)) == 100


def test_nowhere_to_write(server: type[Handler], tmp_path: Path) -> None:
    """Not a folder: unlike permissions, this stops the superuser too."""
    (tmp_path / 'data').touch()
    said = last_words(TOOL, tmp_path / 'data')
    assert said.startswith(f'{CIFAR100.url} cannot be downloaded: [Errno')
    assert str(tmp_path / 'data') in said
    assert server.requests == []


def test_nobody_answers(
    server: type[Handler], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR100, 'url', (tmp_path / 'none.tar.gz').as_uri())
    said = last_words(TOOL, tmp_path / 'data')
    assert 'none.tar.gz cannot be downloaded: <urlopen error' in said
    assert said.endswith('or set data_root of the datasets to where you have it.')
