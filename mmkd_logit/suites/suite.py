"""Suites: rows of a table, each a config with overrides."""

from __future__ import annotations

import argparse
import copy
import itertools
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mmengine.config import Config, DictAction

from mmkd_logit.apis import build_model, check_data, config_name, read_config
from mmkd_logit.compat import shipped_folder
from mmkd_logit.errors import is_mistake, message_of
from mmkd_logit.models.annotations import find_misfit
from mmkd_logit.models.settings import is_distiller, is_probe
from mmkd_logit.tasks import task_of_scope

_Row = str | dict
# Keys of a suite file, with their types.
_KEYS: dict[str, Any] = {
    'baseline': str | None,
    'metric': str | None,
    'options': dict,
    'prepare': dict[str, list[str]],
    'rows': dict[str, _Row],
    'seeds': list[int],
    'teacher': _Row | None,
}
# Keys of a row; of a teacher, and of a student that a row probes.
_KEYS_OF_ROWS: dict[str, Any] = {
    'config': str,
    'options': dict,
    'published': Any,
    'teacher': _Row | None,
    'baseline': str | None,
    'student': _Row | None,
}
_KEYS_OF_TEACHERS = 'config', 'options', 'published'
_KEYS_OF_STUDENTS = 'config', 'options', 'teacher'
# Kinds of published numbers; 'value' if the paper does not say.
_PUBLISHED = ('best', 'last', 'value')
OF_TEACHERS = 'model.teacher.'
CACHE, CHECKPOINT, VIEWS = (
    f'{OF_TEACHERS}{name}' for name in ('cache', 'checkpoint', 'views')
)
OF_STUDENTS = 'model.checkpoint'


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name (str): Its name in the table.
        config (Path): The config that is trained.
        options (dict[str, Any]): Overrides by dotted keys, as with ``--cfg-options`` of
            ``tools/train.py``.
        teacher (Row, optional): The teacher of its pair, instead of the suite's.
        baseline (str, optional): Name of the row that it is compared with, instead of
            the suite's.
        published (dict[str, Any], optional): A published number, ``best``, ``last``, or
            ``value`` if it is unknown which, and its ``source``.
        student (Row, optional): The student that is trained first, on the same seed,
            and whose features the ``LinearProbe`` of this row uses.
    """

    name: str
    config: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    teacher: Row | None = None
    baseline: str | None = None
    published: Mapping[str, Any] | None = None
    student: Row | None = None

    def read(self, options: Mapping[str, Any] | None = None) -> Config:
        """Read the config as ``tools/train.py`` does.

        Args:
            options (dict[str, Any], optional): Further overrides. Defaults to None.

        Returns:
            Config: With all options applied.
        """
        arguments = argparse.Namespace(
            config=str(self.config),
            cfg_options=copy.deepcopy({**self.options, **(options or {})}),
            work_dir=None,
            launcher='none',
            local_rank=0,
        )
        try:
            return read_config(arguments)
        except Exception as error:
            if not is_mistake(error):
                raise
            raise ValueError(f'Row {self.name!r}: {message_of(error)}') from error


@dataclass(frozen=True)
class Suite:
    """Rows that are trained on the same seeds and share one table.

    Attributes:
        name (str): Its name, also used for its folder.
        rows (list[Row]): The students.
        seeds (list[int]): Seeds of each row.
        metric (str): The metric to compare, under its name in the log, in percent.
        baseline (str): Name of the row that the others are compared with.
        teacher (Row, optional): The teacher, if it is trained first, on seed 0. All
            distillers of the rows get its checkpoint, except those with their own
            teacher.
        prepare (dict[str, list[str]]): For each data folder, the script below ``tools``
            that makes it, with its arguments.
    """

    name: str
    rows: list[Row]
    seeds: list[int]
    metric: str
    baseline: str
    teacher: Row | None = None
    prepare: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def teachers(self) -> list[Row]:
        """All teachers of the rows that are to be trained, each once."""
        return _each_once([self.teacher, *(row.teacher for row in self.rows)])

    @property
    def students(self) -> list[Row]:
        """All students that rows probe, each once."""
        return _each_once([row.student for row in self.rows])

    @property
    def needed(self) -> list[Row]:
        """Rows that are trained before the others: teachers, then students."""
        of_students = [student.teacher for student in self.students]
        return _each_once([*self.teachers, *of_students, *self.students])

    def sweep(self, choices: Mapping[str, Sequence[Any]]) -> Suite:
        """Make a row for each combination of values.

        Args:
            choices (dict[str, list]): Values by the dotted key of a setting. A row
                without the setting's parent, such as another method's loss, is not
                changed.

        Returns:
            Suite: A suite with more rows.

        Raises:
            ValueError: If no row has such a setting.
        """
        rows: list[Row] = []
        renamed: dict[str, str] = {}
        met: set[str] = set()
        for row in self.rows:
            cfg = row.read()
            keys = [key for key in choices if _has(cfg, key.rpartition('.')[0])]
            met.update(keys)
            for values in itertools.product(*(choices[key] for key in keys)):
                chosen = dict(zip(keys, values))
                parts = [f'{key.rpartition(".")[2]}={chosen[key]}' for key in keys]
                name = ', '.join([row.name, *parts])
                renamed.setdefault(row.name, name)
                options = {**row.options, **chosen}
                # Published numbers hold for the original settings only.
                published = None if keys else row.published
                rows.append(
                    replace(row, name=name, options=options, published=published)
                )
        missed = [key for key in choices if key not in met]
        if missed:
            raise ValueError(
                f'--sweep {missed[0]}: no row has {missed[0].rpartition(".")[0]!r}. '
                f'The rows are {_listed(row.name for row in self.rows)}.'
            )
        rows = [
            replace(row, baseline=renamed.get(row.baseline or '', row.baseline))
            for row in rows
        ]
        baseline = renamed.get(self.baseline, self.baseline)
        return replace(self, rows=rows, baseline=baseline)

    def with_options(self, options: Mapping[str, Any]) -> Suite:
        """Override the same settings in every row and in the teachers' configs.

        Those of ``model.teacher`` are left out where there is no teacher.
        """
        return self._changed(options)

    def with_views(self, views: int) -> Suite:
        """Show the same views of each image in every row that distils a teacher.

        Args:
            views (int): Number of views.

        Returns:
            Suite: A suite whose rows can be trained from stored logits.

        Raises:
            ValueError: If a row has several teachers, or itself sets another number of
                views or stored logits.
        """
        return self._changed({VIEWS: views}, replacing=False)

    def _changed(self, options: Mapping[str, Any], replacing: bool = True) -> Suite:
        for_all = {k: v for k, v in options.items() if not k.startswith(OF_TEACHERS)}

        def changed(row: Row) -> Row:
            # Only if needed: reading all configs takes time.
            model = row.read().model if for_all != options else {}
            has_teacher = is_distiller(model)
            if has_teacher and not isinstance(model['teacher'], dict):
                named = next(key for key in options if key not in for_all)
                raise ValueError(
                    f'Row {row.name!r} has several teachers, so {named} cannot be set. '
                    'Remove the row or that option.'
                )
            if has_teacher and not replacing:
                _check_views(row, model['teacher'], options[VIEWS])
            return replace(
                row,
                options={**row.options, **(options if has_teacher else for_all)},
                teacher=row.teacher and changed(row.teacher),
                student=row.student and changed(row.student),
            )

        teacher = self.teacher and changed(self.teacher)
        return replace(self, rows=[changed(row) for row in self.rows], teacher=teacher)

    def check(self, lists_only: bool = False) -> None:
        """Check, before any run starts, for errors that would end one at its start.

        Args:
            lists_only (bool): Whether the runs are only listed. Then no model is built,
                which may download its weights, and the data may be missing. Defaults to
                False.

        Raises:
            ValueError: If names or seeds repeat, a config cannot be read or built, a
                teacher's checkpoint is missing, or a metric is not logged.
            FileNotFoundError: If the data of a row is missing.
        """
        if not isinstance(self.seeds, list) or not all(
            isinstance(seed, int) for seed in self.seeds
        ):
            raise ValueError(f'seeds must be a list of integers, but got {self.seeds}.')
        names = [row.name for row in self.rows]
        named = [row.name for row in (*self.needed, *self.rows)]
        seeds = [str(seed) for seed in self.seeds]
        for what, found in (('rows', named), ('seeds', seeds)):
            twice = [each for each in found if found.count(each) > 1]
            if twice:
                raise ValueError(f'Two {what} of {self.name} are called {twice[0]!r}.')
        if not names or not self.seeds:
            raise ValueError(f'{self.name} needs at least one row and one seed.')
        for baseline in (self.baseline, *(row.baseline for row in self.rows)):
            if baseline is not None and baseline not in names:
                raise ValueError(
                    f'The baseline {baseline!r} is not a row. The rows are '
                    f'{_listed(names)}.'
                )
        for row in (*self.needed, *self.rows):
            self._check_row(row, row.read(), lists_only)

    def _check_row(self, row: Row, cfg: Config, lists_only: bool) -> None:
        if cfg.get('val_dataloader') is None or not cfg.get('val_evaluator'):
            raise ValueError(
                f'Row {row.name!r} has no val_dataloader or no val_evaluator: nothing '
                f'would log {self.metric}.'
            )
        logged = _logged_by(cfg.val_evaluator)
        if logged and self.metric not in logged:
            raise ValueError(
                f'Row {row.name!r} does not log {self.metric!r}. Its evaluator logs '
                f'{_listed(logged)}: choose with metric, or --metric.'
            )
        as_arguments(row.options)
        if lists_only:
            return
        check_data(cfg, ('train_dataloader', 'val_dataloader'))
        try:
            build_model(cfg)
        except Exception as error:  # a bad config may raise anything
            if not is_mistake(error):
                raise
            raise ValueError(
                f'The model of row {row.name!r} ({row.config}) cannot be built: '
                f'{message_of(error)}'
            ) from error
        if is_distiller(cfg.model):
            self._check_teacher(row, cfg)
        elif is_probe(cfg.model):
            _check_student(row, cfg)
        elif row.student is not None:
            raise ValueError(
                f'Row {row.name!r} has a student, but {row.config} has no LinearProbe '
                'to take its features.'
            )

    def _check_teacher(self, row: Row, cfg: Config) -> None:
        settings = toolbox_teacher(cfg)
        if settings is None:
            return
        teacher = row.teacher or self.teacher
        if teacher is not None and CHECKPOINT not in row.options:
            config = Path(settings.get('config') or '')
            if config.is_file() and config.resolve() != teacher.config:
                raise ValueError(
                    f'Row {row.name!r} has the teacher {config}, but the suite trains '
                    f'{teacher.config}. Give the row that teacher.'
                )
            return
        if settings.get('cache') is not None:
            return
        checkpoint = settings.get('checkpoint')
        is_path = checkpoint is not None and '://' not in checkpoint
        if is_path and not has_checkpoint(cfg):
            raise ValueError(
                f"The teacher's checkpoint {checkpoint!r} of row {row.name!r} does not "
                'exist. Train it first, name it in model.teacher.checkpoint, or give '
                'the suite a teacher.'
            )


def _check_views(row: Row, settings: Mapping[str, Any], views: int) -> None:
    """Check that a row does not set other views or stored logits, and raise if so."""
    for key, own in ((CACHE, settings.get('cache')), (VIEWS, settings.get('views'))):
        if own is not None and (key == CACHE or own != views):
            raise ValueError(
                f'Row {row.name!r} sets {key}={own}, but would instead be trained '
                f'from the stored logits of {views} views. Remove --cache-teacher '
                'or that row.'
            )


def toolbox_teacher(cfg: Config) -> dict | None:
    """Return the settings of a distiller's teacher if a suite can train it.

    Args:
        cfg (Config): The distiller's config.

    Returns:
        dict | None: None for a teacher from another library, or several teachers:
        they come with their own weights.
    """
    settings = cfg.model.teacher
    if not isinstance(settings, dict) or not {'config', 'model'} & set(settings):
        return None
    return settings


def _check_student(row: Row, cfg: Config) -> None:
    checkpoint = cfg.model.checkpoint
    if (row.student is None or OF_STUDENTS in row.options) and not (
        '://' in checkpoint or Path(checkpoint).expanduser().is_file()
    ):
        raise ValueError(
            f'The checkpoint {checkpoint!r} of the student that row {row.name!r} '
            'probes does not exist. Train it first, name it in model.checkpoint, or '
            'give the row a student, a config that is trained first.'
        )


def has_checkpoint(cfg: Config) -> bool:
    """Return whether the teacher's file that a distiller's config names exists."""
    settings = toolbox_teacher(cfg)
    if settings is None:
        return True
    checkpoint = settings.get('checkpoint')
    return checkpoint is not None and Path(checkpoint).expanduser().is_file()


def _each_once(rows: Iterable[Row | None]) -> list[Row]:
    found: list[Row] = []
    for row in rows:
        if row is not None and row not in found:
            found.append(row)
    return found


def read_suite(name: str) -> Suite:
    """Read a suite.

    Args:
        name (str): Path of its file, or the name of one in ``configs/suites``.

    Returns:
        Suite: The suite, not yet checked.

    Raises:
        FileNotFoundError: If there is none. The message lists the existing ones.
        ValueError: If the file has no rows, or unknown keys.
    """
    folder = shipped_folder('configs') / 'suites'
    path = Path(name) if Path(name).suffix == '.py' else folder / f'{name}.py'
    if not path.is_file():
        known = _listed(each.stem for each in sorted(folder.glob('*.py')))
        raise FileNotFoundError(
            f'There is no suite {name!r} (looked for {path}). Name a file, or one of '
            f'{known}.'
        )
    cfg = Config.fromfile(str(path))
    settings = {k: v for k, v in cfg.items() if not k.startswith('_')}
    unknown = [key for key in settings if key not in _KEYS]
    if unknown or not cfg.get('rows'):
        problem = f'has the unknown key {unknown[0]!r}' if unknown else 'has no rows'
        raise ValueError(
            f'The suite {path} {problem}. A suite takes {_listed(_KEYS)}, and its rows '
            "are a dict such as {'KD': '../kd/res34_res18_in1k.py'}."
        )
    _check_types(settings, _KEYS, f'The suite {path}')
    rows = [_make_row(name, each, path) for name, each in cfg.rows.items()]
    teacher = cfg.get('teacher')
    suite = Suite(
        path.stem,
        rows,
        cfg.get('seeds', [0, 1, 2]),
        cfg.get('metric') or _usual_metric(rows[0]),
        cfg.get('baseline', rows[0].name),
        None if teacher is None else _make_teacher('teacher', teacher, path),
        cfg.get('prepare', {}),
    )
    return suite.with_options(_flat(cfg.get('options', {})))


def suite_of_configs(configs: Sequence[str]) -> Suite:
    """Make a suite with one row per config, on seed 0.

    Args:
        configs (Sequence[str]): Paths of the configs.

    Returns:
        Suite: The suite, not yet checked.

    Raises:
        FileNotFoundError: If a file does not exist.
    """
    rows = [
        _row_of_file(config_name(config).as_posix(), Path(config)) for config in configs
    ]
    return Suite('configs', rows, [0], _usual_metric(rows[0]), rows[0].name)


def _row_of_file(
    name: str, path: Path, options: Mapping[str, Any] | None = None
) -> Row:
    if not path.is_file():
        raise FileNotFoundError(
            f'The config {str(path)!r} of row {name!r} does not exist (looked in '
            f'{Path.cwd()}).'
        )
    return Row(name, path.resolve(), options or {})


def _check_types(
    settings: Mapping[str, Any], types: Mapping[str, Any], where: str
) -> None:
    for key, value in settings.items():
        if misfit := find_misfit(types[key], value, key):
            raise ValueError(f'{where}: {misfit}')


def _make_row(
    name: str, settings: Any, suite: Path, known: Iterable[str] = _KEYS_OF_ROWS
) -> Row:
    if isinstance(settings, str):
        settings = {'config': settings}
    if not {'config'} <= set(settings) <= {*known}:
        raise ValueError(
            f'Row {name!r} of {suite} must be the path of a config, or a dict with the '
            f'keys {_listed(known)}, where config is required, but is {settings!r}.'
        )
    _check_types(settings, _KEYS_OF_ROWS, f'Row {name!r} of {suite}')
    options = _flat(settings.get('options', {}))
    row = _row_of_file(name, suite.parent / settings['config'], options)
    teacher, student = settings.get('teacher'), settings.get('student')
    if teacher is not None:
        teacher = _make_teacher(None, teacher, suite)
    if student is not None:
        student = _make_row('student', student, suite, _KEYS_OF_STUDENTS)
        student = replace(student, name=config_name(student.config).as_posix())
    return replace(
        row,
        teacher=teacher,
        student=student,
        baseline=settings.get('baseline'),
        published=_read_published(name, settings.get('published')),
    )


def _make_teacher(name: str | None, settings: Any, suite: Path) -> Row:
    """Make the row of a teacher; without a name, it is named after its config."""
    row = _make_row(name or 'teacher', settings, suite, _KEYS_OF_TEACHERS)
    return row if name else replace(row, name=f'teacher {row.config.stem}')


def _read_published(name: str, published: Any) -> dict[str, Any] | None:
    if published is None:
        return None
    found = set(published) if isinstance(published, Mapping) else set()
    if 'source' not in found or len(found) != 2 or not found & {*_PUBLISHED}:
        raise ValueError(
            f'published of row {name!r} must have a source and one of '
            f"{_listed(_PUBLISHED)}, such as dict(best=71.97, source='LSKD'), but is "
            f'{published!r}.'
        )
    types = {'source': str, **dict.fromkeys(_PUBLISHED, float)}
    _check_types(published, types, f'published of row {name!r}')
    return dict(published)


def _usual_metric(row: Row) -> str:
    """Return the usual metric of a config's task."""
    cfg = row.read()
    task = task_of_scope(cfg.get('default_scope'))
    logged = _logged_by(cfg.get('val_evaluator') or {})
    usual = task.metric if task is not None else None
    if usual is None or (logged and usual not in logged):
        raise ValueError(
            f'Which metric to compare is not clear from {row.config}. Give its name in '
            'the log: metric in a suite, or --metric.'
        )
    return usual


def _logged_by(evaluator: Any) -> list[str]:
    """Return the metrics that evaluators log; none if one of them is unknown."""
    logged: list[str] = []
    for settings in evaluator if isinstance(evaluator, list | tuple) else [evaluator]:
        name = str(settings.get('type')).rpartition('.')[2]
        usual = settings.get('iou_metrics', ['mIoU']) == ['mIoU']
        if name == 'Accuracy' and not {'prefix', 'thrs'} & settings.keys():
            topk = settings.get('topk', 1)
            many = [topk] if isinstance(topk, int) else topk
            logged += [f'accuracy/top{k}' for k in many]
        elif name == 'IoUMetric' and usual and 'prefix' not in settings:
            logged += ['aAcc', 'mIoU', 'mAcc']
        else:
            return []
    return logged


def _flat(options: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Flatten nested settings to dotted keys, as on a command line."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f'{prefix}{key}.'))
        else:
            found[f'{prefix}{key}'] = value
    return found


def as_arguments(options: Mapping[str, Any]) -> list[str]:
    """Write options as arguments of ``--cfg-options``.

    Args:
        options (dict[str, Any]): Values by dotted keys.

    Returns:
        list[str]: Strings ``key=value``.

    Raises:
        ValueError: If a value cannot be written that way.
    """
    arguments = []
    for key, value in options.items():
        text = as_text(value)
        if text is None:
            raise ValueError(
                f'{key}={value!r} cannot be given on a command line. Put it in a '
                'separate config, and name that in the row.'
            )
        arguments.append(f'{key}={text}')
    return arguments


def as_text(value: Any) -> str | None:
    """Write a value as mmengine reads it from a command line; None if impossible."""
    is_list = isinstance(value, list | tuple)
    text = re.sub("[ ']", '', str(value)) if is_list else str(value)
    try:
        return text if DictAction._parse_iterable(text) == value else None
    except AssertionError:  # brackets that do not match
        return None


def _has(cfg: Config, key: str) -> bool:
    found: Any = cfg
    for part in filter(None, key.split('.')):
        if not isinstance(found, Mapping | Config) or part not in found:
            return False
        found = found[part]
    return True


def _listed(names: Iterable[str]) -> str:
    return ', '.join(names)


def data_to_make(suite: Suite) -> dict[str, list[str]]:
    """Return the data that a suite lacks, and the scripts that make it.

    Args:
        suite (Suite): The suite.

    Returns:
        dict[str, list[str]]: A command line for each folder that is missing and that a
        config reads.
    """
    tools = shipped_folder('tools')
    return {
        folder: [sys.executable, str(tools / script), *arguments]
        for folder, (script, *arguments) in suite.prepare.items()
        # A download that failed may leave an empty folder.
        if not any(Path(folder).glob('*')) and _is_read(folder, suite)
    }


def prepare_data(suite: Suite) -> None:
    """Make the data that a suite lacks.

    Args:
        suite (Suite): The suite.

    Raises:
        ValueError: If a script fails. The message has its output.
    """
    for folder, command in data_to_make(suite).items():
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            raise ValueError(
                f'{" ".join(command)} could not make {folder}:\n{result.stderr}'
            )


def _is_read(folder: str, suite: Suite) -> bool:
    """Return whether a config reads its data from this folder."""
    configs = (row.read() for row in (*suite.needed, *suite.rows))
    loaders = (cfg.get('train_dataloader') or {} for cfg in configs)
    return any(
        loader.get('dataset', {}).get('data_root') == folder for loader in loaders
    )
