"""One process per folder."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from mmkd_logit.lock import only_one_in


def try_it(folder: Path) -> str:
    try:
        with only_one_in(folder):
            return 'alone'
    except FileExistsError as error:
        return str(error)


def test_one_training_in_a_work_dir(tmp_path: Path) -> None:
    folder = tmp_path / 'work'
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        with only_one_in(folder):
            said = pool.apply(try_it, (folder,))
            assert said.startswith(f'Another training runs in {folder}. Wait until')
        assert pool.apply(try_it, (folder,)) == 'alone'
        assert pool.apply(try_it, (tmp_path / 'other',)) == 'alone'
    assert not list(folder.iterdir())


def test_an_error_ends_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), only_one_in(tmp_path):
        raise KeyError
    assert try_it(tmp_path) == 'alone'


def test_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, 'Bad file descriptor')

    monkeypatch.setattr('fcntl.flock', refuse)
    assert try_it(tmp_path) == 'alone'
