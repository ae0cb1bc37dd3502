"""A single training run of a suite: its work dir, state and command line."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

from mmengine.config import Config

from mmkd_logit.apis import check_resume, config_name
from mmkd_logit.compat import shipped_folder
from mmkd_logit.flat import difference, leaves
from mmkd_logit.lock import try_lock
from mmkd_logit.models.settings import is_distiller, is_probe
from mmkd_logit.suites.suite import (
    CACHE,
    CHECKPOINT,
    OF_STUDENTS,
    OF_TEACHERS,
    VIEWS,
    Row,
    Suite,
    as_arguments,
    as_text,
    has_checkpoint,
    toolbox_teacher,
)
from mmkd_logit.version import __version__
from mmkd_logit.visualization import RunLog, log_files

_RECORD, _LOG, _LOCK = 'compare.json', 'compare.log', 'compare.lock'
# Settings that differ between runs of the same config.
_OF_THE_RUN = ('launcher', 'randomness.seed', 'work_dir')
_OF_VIEWS = (f'{OF_TEACHERS}view',)
# Settings that stored logits depend on.
_OF_STORES = (
    OF_TEACHERS,
    'data_preprocessor',
    'default_scope',
    'model.student.data_preprocessor',
    'train_dataloader.dataset',
)


@dataclass
class Run:
    """A row with one seed.

    Attributes:
        row (Row): The row; for a teacher, its name is the teacher's.
        seed (int): The seed.
        work_dir (Path): Where logs and checkpoints go.
        made_from (dict[str, str]): All settings that its result depends on, by dotted
            keys: those of the config, the version of this package, the number of
            threads, and a digest of the teacher's.
        teacher (Run, optional): The run whose checkpoint it needs, if the suite trains
            that: a teacher to distil, or a student to probe.
        length (int): Number of epochs or iterations of training.
        is_teacher (bool): Whether others need its checkpoint.
        store (StoreRun, optional): The run that stores the teacher's logits for it.
    """

    row: Row
    seed: int
    work_dir: Path
    made_from: Mapping[str, str]
    teacher: Run | None
    length: int
    is_teacher: bool = False
    store: StoreRun | None = None

    @property
    def needs(self) -> Run | None:
        """The run that must be done before it."""
        return self.store or self.teacher

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f'{self.row.name}, seed {self.seed}'

    def record(self) -> dict[str, Any]:
        """Read the record of the run; empty if there is none.

        Raises:
            ValueError: If the file is damaged.
        """
        path = self.work_dir / _RECORD
        if not path.exists():
            return {}
        try:
            record = json.loads(path.read_text())
        except ValueError:
            record = None
        if not isinstance(record, dict) or 'made_from' not in record:
            raise ValueError(
                f'{path} was not written by compare.py. Move {self.work_dir} away to '
                'train it again.'
            )
        return record

    def write(self, **what: Any) -> None:
        """Add to the record."""
        record = {'made_from': self.made_from, **self.record(), **what}
        draft = self.work_dir / f'{_RECORD}.new'
        draft.write_text(json.dumps(record, indent=1) + '\n')
        draft.replace(self.work_dir / _RECORD)

    def difference(self) -> str:
        """Describe how the run in the work dir differs from this one; empty if not."""
        record = self.record()
        if not record:
            return 'it was not made by compare.py' if log_files(self.work_dir) else ''
        return difference(self.made_from, record['made_from'])

    @property
    def done(self) -> bool:
        """Whether it has finished successfully, with these very settings."""
        if not self.record().get('done') or self.difference():
            return False
        return not self.is_teacher or self.checkpoint() is not None

    def log(self) -> RunLog:
        """Read its log."""
        return RunLog(self.work_dir)

    def checkpoint(self) -> Path | None:
        """Find the latest checkpoint to resume from; None if there is none."""
        files = [
            *self.work_dir.glob('epoch_*.pth'),
            *self.work_dir.glob('iter_*.pth'),
        ]
        # A CheckpointHook can write other names, and to another folder.
        note = self.work_dir / 'last_checkpoint'
        if note.is_file() and (noted := Path(note.read_text().strip())).is_file():
            files.append(noted)
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            try:
                check_resume(str(file), self.row.read().model)
            except (ValueError, FileNotFoundError):
                continue  # truncated when the run was killed
            return file
        return None

    def command(self, processes: int = 1) -> list[str]:
        """Return the command that trains or resumes it.

        Args:
            processes (int): Number of processes, one per GPU. Defaults to 1.

        Returns:
            list[str]: A command line.
        """
        options: dict[str, Any] = {'randomness.seed': self.seed}
        if self.store is not None:
            options[CACHE] = str(self.store.folder)
        arguments = ['--work-dir', str(self.work_dir)]
        checkpoint = self.checkpoint()
        resume = ['--resume', str(checkpoint)] if checkpoint else []
        return [*self._launch('train.py', processes, arguments, options), *resume]

    def _launch(
        self,
        tool: str,
        processes: int,
        arguments: Sequence[str],
        options: Mapping[str, Any],
    ) -> list[str]:
        """Return the command of a tool on the row's config, with its teacher."""
        options = {**self.row.options, **options}
        if self.teacher is not None:
            key = CHECKPOINT if self.row.student is None else OF_STUDENTS
            options[key] = str(self.teacher.checkpoint())
        launch = [sys.executable]
        if processes > 1:
            launch += ['-m', 'mmkd_logit.launch', '--standalone']
            launch += [f'--nproc_per_node={processes}']
        return [
            *(*launch, str(shipped_folder('tools') / tool), str(self.row.config)),
            *arguments,
            *('--launcher', 'pytorch' if processes > 1 else 'none'),
            *('--cfg-options', *as_arguments(options)),
        ]

    def lock(self) -> IO[str] | None:
        """Lock the work dir for as long as this process or a child keeps the file open.

        Returns:
            IO[str] | None: The lock file; None if another process holds it.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        file = (self.work_dir / _LOCK).open('w')
        if try_lock(file):
            return file
        file.close()
        return None

    def start(
        self, environment: Mapping[str, str], processes: int, lock: IO[str]
    ) -> subprocess.Popen:
        """Start its process, which holds the lock until it ends.

        Args:
            environment (dict[str, str]): Variables added to those of this process.
            processes (int): Number of processes, one per GPU.
            lock (IO[str]): The file that :meth:`lock` returned. It is closed here.

        Returns:
            Popen: The process. Its output goes to ``compare.log`` in the work dir.
        """
        if self.teacher is not None:
            self.teacher.write(teaches=True)
        with lock, (self.work_dir / _LOG).open('w') as output:
            self.write(done=False, commit=commit())
            return subprocess.Popen(
                self.command(processes),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
                start_new_session=True,  # Ctrl-C is for compare.py to handle
            )

    def last_words(self, lines: int = 20) -> str:
        """Return the last lines of its output."""
        text = (self.work_dir / _LOG).read_text(errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def move_aside(self) -> Path:
        """Rename the work dir, so that the run can start again.

        Returns:
            Path: Its new name.
        """
        names = (f'{self.work_dir.name}.old{number}' for number in itertools.count(1))
        paths = map(self.work_dir.with_name, names)
        return self.work_dir.rename(next(path for path in paths if not path.exists()))


class StoreRun(Run):
    """Stores a teacher's logits for the runs that distil it."""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return self.row.name

    @property
    def folder(self) -> Path:
        """Folder of the store."""
        return self.work_dir / 'store'

    @property
    def done(self) -> bool:
        """Whether the store exists, with these very settings."""
        return self.folder.is_dir() and super().done

    def checkpoint(self) -> Path | None:
        """Return None: storing resumes without a checkpoint."""
        return None

    def command(self, processes: int = 1) -> list[str]:
        """Return the command that stores the logits, or resumes storing."""
        arguments = [str(self.folder), '--views', self.made_from[VIEWS]]
        return self._launch('cache_teacher.py', processes, arguments, {})


def plan_runs(
    suite: Suite, work_dir: Path, threads: int = 1, stored: bool = False
) -> list[Run]:
    """Plan all runs of a suite.

    A teacher is not trained if the row's options name its checkpoint, or if the file
    named in the config exists, unless it has already been trained here for a student. A
    student that a row probes is trained unless the row's options name its checkpoint.

    Args:
        suite (Suite): The suite.
        work_dir (Path): The folder of all work dirs. Suites share the runs in it.
        threads (int): Number of CPU threads per run. Defaults to 1.
        stored (bool): Whether the logits of teachers that have ``views`` are stored
            once, for all runs that show the same views. Defaults to False.

    Returns:
        list[Run]: Teachers, then students to be probed, then runs that store logits,
        then row by row, seed by seed.

    Raises:
        ValueError: If a command line cannot name the folder.
    """
    if not as_text(str(work_dir)):
        raise ValueError(
            f'--work-dir {str(work_dir)!r} must not contain spaces, commas or '
            'brackets: tools/train.py could not be told where the teacher is.'
        )

    stores: dict[Path, StoreRun] = {}

    def plan(row: Row, needs: Mapping[int, Run | None], is_teacher: bool) -> list[Run]:
        """Return the runs of a row, one per seed, given what each needs."""
        cfg = row.read()
        folder = work_dir / config_name(row.config).parent / _folder_name(row)
        length = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
        found = []
        for seed, teacher in needs.items():
            if teacher is not None and not _needs(row, cfg, teacher):
                teacher = None
            settings = _settings(cfg, with_teacher=teacher is None)
            made_from = {**settings, 'threads': str(threads), 'version': __version__}
            if teacher is not None:
                made_from['teacher'] = _digest(teacher.made_from)
            store = None
            if stored and VIEWS in row.options:
                store = _plan_store(row, settings, teacher, work_dir, threads)
                store = stores.setdefault(store.work_dir, store)
            made_from['seed'] = str(seed)
            at = folder / f'seed{seed}'
            found.append(
                Run(row, seed, at, made_from, teacher, length, is_teacher, store)
            )
        return found

    before: list[Run] = []

    def trained(row: Row | None, seed: int) -> Run | None:
        return next((r for r in before if r.row == row and r.seed == seed), None)

    for row in suite.needed:
        is_student = row in suite.students
        teacher = trained(row.teacher or (suite.teacher if is_student else None), 0)
        seeds = suite.seeds if is_student else [0]
        before += plan(row, dict.fromkeys(seeds, teacher), True)
    runs: list[Run] = []
    for row in suite.rows:
        teacher = trained(row.teacher or suite.teacher, 0)
        needs = {seed: trained(row.student, seed) or teacher for seed in suite.seeds}
        runs += plan(row, needs, False)
    runs = [*stores.values(), *runs]
    # In reverse: a teacher is needed only if its student is.
    for run in reversed(before):
        if any(each.teacher is run for each in runs):
            runs.insert(0, run)
    return runs


def _plan_store(
    row: Row,
    settings: Mapping[str, str],
    teacher: Run | None,
    work_dir: Path,
    threads: int,
) -> StoreRun:
    """Return the run that stores a row's logits, equal for all rows on these images."""
    made_from = {
        **{k: v for k, v in settings.items() if k.startswith(_OF_STORES)},
        'threads': str(threads),
        'version': __version__,
    }
    if teacher is not None:
        made_from['teacher'] = _digest(teacher.made_from)
    key = _digest(made_from)[:8]
    name = f'logits of {teacher.row.name if teacher else "the teacher"} ({key})'
    folder = work_dir / 'stored_logits' / f'{row.config.stem}_{key}'
    return StoreRun(replace(row, name=name), 0, folder, made_from, teacher, 1)


def _needs(row: Row, cfg: Config, teacher: Run) -> bool:
    """Return whether the teacher must be trained for a row."""
    if is_probe(cfg.model):
        return row.student is not None and OF_STUDENTS not in row.options
    if not is_distiller(cfg.model) or CHECKPOINT in row.options:
        return False
    if toolbox_teacher(cfg) is None:
        return False
    return teacher.record().get('teaches', False) or not has_checkpoint(cfg)


def _folder_name(row: Row) -> str:
    name, options = row.config.stem, dict(row.options)
    if row.student is not None:
        name += f'_{"-".join(config_name(row.student.config).parts)}'
        options.update({f'student.{k}': v for k, v in row.student.options.items()})
    if not options:
        return name
    parts = [f'{key.rpartition(".")[2]}={options[key]}' for key in options]
    short = ''.join(c if c.isalnum() or c in '=.-_' else '-' for c in '_'.join(parts))
    texts = {key: str(value) for key, value in options.items()}
    return f'{name}_{short[:60]}_{_digest(texts)[:6]}'


def _settings(cfg: Config, with_teacher: bool) -> dict[str, str]:
    """Return the settings of a config by dotted keys, without those of a single run."""
    found = dict(leaves(cfg.to_dict()))
    of_another = (OF_TEACHERS, OF_STUDENTS)
    dropped = _OF_THE_RUN if with_teacher else (*_OF_THE_RUN, *of_another)
    views = {k: v for k, v in found.items() if k.startswith(_OF_VIEWS)}
    return {**{k: v for k, v in found.items() if not k.startswith(dropped)}, **views}


def _digest(settings: Mapping[str, str]) -> str:
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def commit() -> str | None:
    """Return the commit of this package, with '+' if modified; None if it has none."""

    def git(*arguments: str) -> str:
        command = ['git', '-C', str(Path(__file__).resolve().parents[1]), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout

    parts = ('.', '../configs', '../tools')
    try:
        git('ls-files', '--error-unmatch', 'version.py')  # else another repository's
        found = git('rev-parse', '--short=12', 'HEAD').strip()
        return found + '+' * bool(git('status', '--porcelain', '-uno', '--', *parts))
    except (OSError, subprocess.CalledProcessError):
        return None
