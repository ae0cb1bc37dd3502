"""One training of a suite: where it is, whether it is done, how it goes on."""

from __future__ import annotations

import fcntl
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
# What differs between two runs of one config.
_OF_THE_RUN = ('launcher', 'randomness.seed', 'work_dir')
_OF_VIEWS = (f'{OF_TEACHERS}view',)
# What stored logits depend on, beside the teacher.
_OF_STORES = (
    OF_TEACHERS,
    'data_preprocessor',
    'default_scope',
    'model.student.data_preprocessor',
    'train_dataloader.dataset',
)


@dataclass
class Run:
    """A row on a seed.

    Attributes:
        row (Row): The row; its name is that of the teacher if it is one.
        seed (int): The seed.
        work_dir (Path): Where logs and checkpoints go.
        made_from (dict[str, str]): All settings that its result depends on, by their
            dotted keys: those of the config, the version of this package, the number
            of threads, and a digest of the teacher's.
        teacher (Run, optional): The run whose checkpoint it needs, if a suite trains
            it: it distils that of a teacher, and probes that of a student.
        length (int): Number of epochs, or of iterations, that it trains.
        is_teacher (bool): Whether others need its checkpoint.
        store (StoreRun, optional): What stores the teacher's logits for it.
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
        """What must be done before it."""
        return self.store or self.teacher

    @property
    def name(self) -> str:
        """What messages call it."""
        return f'{self.row.name}, seed {self.seed}'

    def record(self) -> dict[str, Any]:
        """What was written down of it; empty if nothing was.

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
                f'{path} is not what compare.py has written. Move {self.work_dir} away '
                'to train it anew.'
            )
        return record

    def write(self, **what: Any) -> None:
        """Add to the record."""
        record = {'made_from': self.made_from, **self.record(), **what}
        draft = self.work_dir / f'{_RECORD}.new'
        draft.write_text(json.dumps(record, indent=1) + '\n')
        draft.replace(self.work_dir / _RECORD)

    def difference(self) -> str:
        """How the work dir's run differs from this one; empty if it does not."""
        record = self.record()
        if not record:
            return 'it was not made by compare.py' if log_files(self.work_dir) else ''
        return difference(self.made_from, record['made_from'])

    @property
    def done(self) -> bool:
        """Whether it has ended well, and is this very run."""
        if not self.record().get('done') or self.difference():
            return False
        return not self.is_teacher or self.checkpoint() is not None

    def log(self) -> RunLog:
        """What it has logged."""
        return RunLog(self.work_dir)

    def checkpoint(self) -> Path | None:
        """The latest checkpoint from which it can go on; None if there is none."""
        files = [
            *self.work_dir.glob('epoch_*.pth'),
            *self.work_dir.glob('iter_*.pth'),
        ]
        for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
            try:
                check_resume(str(file), self.row.read().model)
            except (ValueError, FileNotFoundError):
                continue  # cut off when the run was killed
            return file
        return None

    def command(self, processes: int = 1) -> list[str]:
        """What trains it, or goes on with it.

        Args:
            processes (int): Number of processes, one a GPU. Defaults to 1.

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
        """A tool on the row's config, with its teacher."""
        options = {**self.row.options, **options}
        if self.teacher is not None:
            key = CHECKPOINT if self.row.student is None else OF_STUDENTS
            options[key] = str(self.teacher.checkpoint())
        launch = [sys.executable]
        if processes > 1:
            launch += ['-m', 'torch.distributed.run', '--standalone']
            launch += [f'--nproc_per_node={processes}']
        return [
            *(*launch, str(shipped_folder('tools') / tool), str(self.row.config)),
            *arguments,
            *('--launcher', 'pytorch' if processes > 1 else 'none'),
            *('--cfg-options', *as_arguments(options)),
        ]

    def lock(self) -> IO[str] | None:
        """Hold the work dir, for as long as this process or its children hold the file.

        Returns:
            IO[str] | None: The file; None if another process holds it.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        file = (self.work_dir / _LOCK).open('w')
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        return file

    def start(
        self, environment: Mapping[str, str], processes: int, lock: IO[str]
    ) -> subprocess.Popen:
        """Start its process, which holds the lock until it ends.

        Args:
            environment (dict[str, str]): Variables beside those of this process.
            processes (int): Number of processes, one a GPU.
            lock (IO[str]): What :meth:`lock` gave. It is closed here.

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
        """The end of its output."""
        text = (self.work_dir / _LOG).read_text(errors='replace')
        return '\n'.join(text.splitlines()[-lines:])

    def move_aside(self) -> Path:
        """Rename the work dir, so that the run can begin anew.

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
        """What messages call it."""
        return self.row.name

    @property
    def folder(self) -> Path:
        """Where the store is."""
        return self.work_dir / 'store'

    @property
    def done(self) -> bool:
        """Whether the store is there, and is this very one."""
        return self.folder.is_dir() and super().done

    def checkpoint(self) -> Path | None:
        """None: it goes on by itself."""
        return None

    def command(self, processes: int = 1) -> list[str]:
        """What stores the logits, or goes on with it."""
        arguments = [str(self.folder), '--views', self.made_from[VIEWS]]
        return self._launch('cache_teacher.py', processes, arguments, {})


def plan_runs(
    suite: Suite, work_dir: Path, threads: int = 1, stored: bool = False
) -> list[Run]:
    """All runs of a suite, those of the teachers first, then of students to be probed.

    A teacher is not trained where a row's options name its checkpoint. Nor is it where
    the file that the config names is there, unless it has taught here already. A
    student that a row probes is trained unless the row's options name its checkpoint.

    Args:
        suite (Suite): The suite.
        work_dir (Path): The folder of all work dirs. Suites share the runs in it.
        threads (int): Number of CPU threads that a run uses. Defaults to 1.
        stored (bool): Whether the logits of teachers that have ``views`` are stored
            once, for all runs that show the same views. Defaults to False.

    Returns:
        list[Run]: Then what stores logits, then row by row, seed by seed.

    Raises:
        ValueError: If a command line cannot name the folder.
    """
    if not as_text(str(work_dir)):
        raise ValueError(
            f'--work-dir {str(work_dir)!r} must not hold spaces, commas or brackets: '
            'tools/train.py could not be told where the teacher is.'
        )

    stores: dict[Path, StoreRun] = {}

    def plan(row: Row, needs: Mapping[int, Run | None], is_teacher: bool) -> list[Run]:
        """The runs of a row by seed, and what each needs, if that is trained."""
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
    # Backwards: a teacher is needed only where its student is.
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
    """What stores the logits for a row: the same for all on the same images."""
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
    """Whether the teacher must be trained for a row."""
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
    """The settings of a config by their dotted keys, but for those of a single run."""
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
    """The commit of this package, with '+' if it was changed; None if it has none."""

    def git(*arguments: str) -> str:
        command = ['git', '-C', str(Path(__file__).resolve().parents[1]), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout

    parts = ('.', '../configs', '../tools')
    try:
        git('ls-files', '--error-unmatch', 'version.py')  # else it is another's
        found = git('rev-parse', '--short=12', 'HEAD').strip()
        return found + '+' * bool(git('status', '--porcelain', '-uno', '--', *parts))
    except (OSError, subprocess.CalledProcessError):
        return None
