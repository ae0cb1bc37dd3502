"""What a suite may hold, and what is said before its first run."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config, DictAction

from mmkd_logit.apis import build_model
from mmkd_logit.models.settings import build_part
from mmkd_logit.suites import (
    Row,
    Suite,
    plan_runs,
    prepare_data,
    read_suite,
    suite_of_configs,
)
from mmkd_logit.suites.suite import as_arguments, has_checkpoint, toolbox_teacher

SUITES = Path(__file__).parents[2] / 'configs' / 'suites'


def write_suite(folder: Path, text: str) -> str:
    path = folder / 'mine.py'
    path.write_text(text)
    return str(path)


def build_once_a_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the rows that differ in their method alone only the first builds its model."""
    seen = set()

    def build(cfg: Config) -> None:
        networks = cfg.model.get('student', cfg.model), cfg.model.get('teacher')
        if str(networks) not in seen:
            build_model(cfg)
            seen.add(str(networks))
        for name, loss in cfg.model.get('losses', {}).items():
            build_part(loss, f'losses.{name}', dict(num_classes=10))

    monkeypatch.setattr('mmkd_logit.suites.suite.build_model', build)


@pytest.mark.parametrize(
    'path', sorted(SUITES.glob('*.py')), ids=lambda path: path.stem
)
def test_ours_can_be_run(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ImageNet is not here, and the scenes are not drawn yet.
    monkeypatch.setattr('mmkd_logit.suites.suite.check_data', lambda *_: None)
    build_once_a_pair(monkeypatch)
    suite = read_suite(path.stem)
    assert suite.name == path.stem
    suite.check()


@pytest.mark.parametrize(
    ('name', 'pairs'), [('same-family', 7), ('across-families', 10)]
)
def test_tables_of_the_papers(name: str, pairs: int) -> None:
    """Every method on every pair, beside the numbers that the metafiles quote."""
    suite = read_suite(f'cifar100_{name}')
    assert suite.seeds == [0, 1, 2]
    quoted = {}
    for path in SUITES.parent.glob('*/metafile.yml'):
        for model in yaml.safe_load(path.read_text())['Models']:
            for result in model.get('Results', []):
                quoted[model['Config']] = result
    by_pair: dict[str, list[str]] = {}
    folders = (path.parent.name for path in SUITES.parent.glob('*/cifar100'))
    methods = set(folders) - {'baseline'}
    for row in (*suite.teachers, *suite.rows):
        config = str(row.config.relative_to(SUITES.parents[1]))
        result = quoted.get(config)
        assert (row.published is None) == (result is None), row.name
        if row.published is not None and result is not None:
            assert row.published['source'] == result['Source']
            assert result['Metrics']['Top 1 Accuracy'] in row.published.values()
        if row.teacher is not None:
            teacher, student = row.config.stem.split('_')
            assert row.teacher.config.stem == teacher
            assert row.baseline == student
            assert row.config.parts[-3] in methods
            by_pair.setdefault(row.config.stem, []).append(row.name)
    assert len(by_pair) == pairs
    for pair, rows in by_pair.items():
        assert len(rows) == len(methods), pair
        assert pair.split('_')[1] in [row.name for row in suite.rows]


def test_a_suite_of_a_file(config: Path, tmp_path: Path) -> None:
    suite = read_suite(
        write_suite(
            tmp_path,
            "teacher = 'plain/small.py'\n"
            "rows = {'a': 'plain/small.py', 'b': dict(config='plain/small.py', "
            'options=dict(optim_wrapper=dict(optimizer=dict(lr=0.5))))}\n'
            "options = {'train_cfg.max_epochs': 7}\n"
            "seeds = [3, 4]\nbaseline = 'b'\n",
        )
    )
    assert (suite.name, suite.seeds, suite.baseline) == ('mine', [3, 4], 'b')
    assert suite.metric == 'accuracy/top1'
    assert suite.teacher is not None
    assert suite.teacher.read().train_cfg.max_epochs == 7
    lrs = [row.read().optim_wrapper.optimizer.lr for row in suite.rows]
    assert lrs == [0.05, 0.5]
    suite.check()


def test_pairs_in_one_suite(config: Path, distiller: Path, tmp_path: Path) -> None:
    """Rows with a teacher, a baseline and a published number of their own."""
    suite = read_suite(
        write_suite(
            tmp_path,
            "_teacher = dict(config='plain/small.py', "
            "published=dict(last=79.42, source='x'))\n"
            "_kd = dict(config='plain/distilled.py', teacher=_teacher)\n"
            "rows = {'a': 'plain/small.py', 'KD, a': dict(_kd, baseline='a'), "
            "'b': 'plain/small.py', 'KD, b': dict(_kd, baseline='b')}\n"
            "options = {'train_cfg.max_epochs': 7}\n",
        )
    )
    suite.check()
    (teacher,) = suite.teachers
    assert teacher.name == 'teacher small'
    assert teacher.published == {'last': 79.42, 'source': 'x'}
    assert teacher.read().train_cfg.max_epochs == 7
    assert [row.baseline for row in suite.rows] == [None, 'a', None, 'b']
    grid = suite.sweep({'optim_wrapper.optimizer.lr': [1, 2]})
    assert grid.rows[-1].name == 'KD, b, lr=2'
    assert grid.rows[-1].baseline == 'b, lr=1'
    grid.check()
    with pytest.raises(ValueError, match="baseline 'c' is not a row"):
        replace(suite, rows=[replace(row, baseline='c') for row in suite.rows]).check()
    suite.rows.append(replace(suite.rows[0], name='teacher small'))
    with pytest.raises(ValueError, match="Two rows of mine are called 'teacher small'"):
        suite.check()


def test_a_teacher_that_is_a_file(config: Path, distiller: Path) -> None:
    """It reaches distillers only, and must exist."""
    rows = [Row('a', config), Row('KD', distiller)]
    suite = make_suite(config, rows=rows, teacher=Row('teacher', config))
    given = suite.with_options({'model.teacher.checkpoint': str(config)})
    given.check()
    plain, kd = given.rows
    assert not plain.options and given.teacher == suite.teacher
    assert kd.read().model.teacher.checkpoint == str(config)
    missing = suite.with_options({'model.teacher.checkpoint': 'gone.pth'})
    with pytest.raises(ValueError, match=r"checkpoint 'gone.pth' of row 'KD' does not"):
        missing.check()


def test_configs_of_the_command_line(config: Path) -> None:
    suite = suite_of_configs([str(config)])
    assert [row.name for row in suite.rows] == ['plain/small']
    assert suite.seeds == [0]
    suite.check()
    with pytest.raises(FileNotFoundError, match=r'gone.py.* does not exist'):
        suite_of_configs([str(config), 'gone.py'])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('row = {}', "has the unknown key 'row'"),
        ('seeds = [0]', 'has no rows'),
        ("rows = {'a': 'b.py'}", "config '.*b.py' of row 'a' does not exist"),
        ("rows = {'a': dict(conf='b.py')}", "Row 'a' of .* must be the path"),
        (
            "rows = {'a': dict(config='plain/small.py', published=71.0)}",
            "published of row 'a' must have a source and one of best, last, value",
        ),
        (
            "rows = {'a': dict(config='plain/small.py', published=dict(best=71.0))}",
            "published of row 'a' must have a source",
        ),
    ],
)
@pytest.mark.usefixtures('config')
def test_files_that_are_no_suite(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        read_suite(write_suite(tmp_path, text))


def test_unknown_suites_are_answered_by_the_known(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no suite 'digit'.*digitpairs"):
        read_suite('digit')


def make_suite(config: Path, **changes: object) -> Suite:
    suite = Suite('mine', [Row('a', config)], [0], 'accuracy/top1', 'a')
    return replace(suite, **changes)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(seeds=[1, 2, 1]), "Two seeds of mine are called '1'"),
        (dict(seeds=[]), 'needs at least one row'),
        (dict(seeds=3), 'list of integers, but got 3'),
        (dict(seeds=['0']), 'list of integers'),
        (dict(baseline='b'), "baseline 'b' is not a row. The rows are a"),
        (dict(metric='mIoU'), "Row 'a' does not log 'mIoU'.*logs accuracy/top1: cho"),
        (dict(metric='accuracy/top5'), "does not log 'accuracy/top5'"),
    ],
)
def test_bad_suites(changes: dict, message: str, config: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make_suite(config, **changes).check()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.backbone.arch': 'resnet9'}, "row 'a' .* cannot be built: .*resnet9"),
        ({'val_dataloader': None}, "Row 'a' has no val_dataloader"),
        ({'train_dataloader.dataset.data_root': 'gone'}, "data folder 'gone"),
    ],
)
def test_rows_that_would_fail(options: dict, message: str, config: Path) -> None:
    suite = make_suite(config, rows=[Row('a', config, options)])
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        suite.check()


def test_two_rows_of_one_name(config: Path) -> None:
    suite = make_suite(config, rows=[Row('a', config)] * 2)
    with pytest.raises(ValueError, match="Two rows of mine are called 'a'"):
        suite.check()


def test_a_teacher_that_nobody_trains(config: Path, distiller: Path) -> None:
    suite = make_suite(config, rows=[Row('a', distiller)])
    with pytest.raises(ValueError, match=r"checkpoint 'missing.pth' of row 'a' does"):
        suite.check()
    replace(suite, teacher=Row('teacher', config)).check()
    other = config.with_name('other.py')
    other.write_text(config.read_text())
    with pytest.raises(
        ValueError, match=r'has the teacher .*small.py, but the suite t'
    ):
        replace(suite, teacher=Row('teacher', other)).check()


@pytest.mark.parametrize(
    'teacher',
    [
        "dict(_delete_=True, timm='resnet18')",
        "[dict(timm='resnet18'), dict(timm='resnet34')]",
    ],
)
def test_a_teacher_that_needs_no_training(
    teacher: str, config: Path, distiller: Path
) -> None:
    other = distiller.with_name('other.py')
    other.write_text(f"_base_ = './distilled.py'\nmodel = dict(teacher={teacher})\n")
    suite = make_suite(config, rows=[Row('a', other)], teacher=Row('teacher', config))
    suite.check()
    if teacher.startswith('['):
        with pytest.raises(ValueError, match="Row 'a' has several teachers, so mo"):
            suite.with_options({'seed': 1, 'model.teacher.views': 2})
    cfg = suite.rows[0].read()
    assert toolbox_teacher(cfg) is None and has_checkpoint(cfg)


def test_views_do_not_replace_what_a_row_has_chosen(
    config: Path, distiller: Path
) -> None:
    plain, free = Row('plain', config), Row('KD', distiller)
    few = Row('few', distiller, {'model.teacher.views': 4})
    suite = make_suite(config, rows=[plain, free, few])
    found = [row.options.get('model.teacher.views') for row in suite.with_views(4).rows]
    assert found == [None, 4, 4]
    with pytest.raises(
        ValueError, match=r"Row 'few' sets model.teacher.views=4, .* of 8 views"
    ):
        suite.with_views(8)
    stored = Row('stored', distiller, {'model.teacher.cache': 'logits'})
    with pytest.raises(ValueError, match='sets model.teacher.cache=logits'):
        replace(suite, rows=[stored]).with_views(4)
    with pytest.raises(ValueError, match="Row '40 views' sets"):
        read_suite('views').with_views(8)


def test_sweep(config: Path, distiller: Path) -> None:
    rows = [Row('plain', config), Row('KD', distiller)]
    suite = make_suite(config, rows=rows, baseline='plain')
    by_loss = suite.sweep({'model.losses.kd.loss_weight': [0.1, 1]})
    assert [row.name for row in by_loss.rows] == [
        'plain',
        'KD, loss_weight=0.1',
        'KD, loss_weight=1',
    ]
    assert by_loss.rows[1].read().model.losses.kd.loss_weight == 0.1
    grid = suite.sweep(
        {'optim_wrapper.optimizer.lr': [1, 2], 'model.losses.kd.tau': [3]}
    )
    assert [row.name for row in grid.rows] == [
        'plain, lr=1',
        'plain, lr=2',
        'KD, lr=1, tau=3',
        'KD, lr=2, tau=3',
    ]
    assert grid.baseline == 'plain, lr=1'
    with pytest.raises(ValueError, match=r"no row has 'model.losses.dhkd'"):
        suite.sweep({'model.losses.dhkd.loss_weight': [1]})


def test_options_as_arguments() -> None:
    options = {
        'a.lr': 0.5,
        'a.n': 3,
        'a.flag': True,
        'a.none': None,
        'a.name': 'KDLoss',
        'a.path': '/x/y-z.pth',
        'a.list': [1, 2],
        'a.names': ['x', 'y'],
        'a.nested': [(1, 2), (3, 4)],
        'a.rate': 1e-05,
    }
    for argument in as_arguments(options):
        key, _, text = argument.partition('=')
        assert DictAction._parse_iterable(text) == options[key]
    for value in ('3', 'a,b', {'b': 1}, 'None', ['1'], 'x y'):
        with pytest.raises(ValueError, match=re.escape(f'key={value!r} cannot be')):
            as_arguments({'key': value})


def test_data_are_made_where_a_config_reads_them(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where the user has set another folder."""
    monkeypatch.chdir(tmp_path)
    made = {'made': ['missing_tool.py', 'made']}
    suite = replace(make_suite(config), prepare=made)
    prepare_data(suite)
    reads = suite.with_options({'train_dataloader.dataset.data_root': 'made'})
    with pytest.raises(ValueError, match='could not make made'):
        prepare_data(reads)
    (tmp_path / 'made').mkdir()
    with pytest.raises(ValueError, match='could not make made'):
        prepare_data(reads)
    (tmp_path / 'made' / 'images').touch()
    prepare_data(reads)


def test_a_student_that_a_row_probes(config: Path, tmp_path: Path) -> None:
    probe = config.with_name('probe.py')
    probe.write_text(
        "_base_ = './small.py'\n"
        "model = dict(_delete_=True, type='mmkd_logit.LinearProbe', num_classes=10, "
        f"config={str(config)!r}, checkpoint='missing.pth')\n"
    )
    suite = make_suite(config, rows=[Row('a', probe)], baseline='a')
    with pytest.raises(ValueError, match="'missing.pth' of the student that row 'a'"):
        suite.check()
    student = Row('plain/small', config)
    suite = make_suite(config, rows=[Row('a', probe, student=student)], baseline='a')
    suite.check()
    runs = plan_runs(suite, tmp_path / 'runs')
    of_student, of_row = runs[: len(suite.seeds)], runs[len(suite.seeds) :]
    assert [run.row for run in of_student] == [student] * len(suite.seeds)
    assert [run.teacher for run in of_row] == of_student
    assert [run.seed for run in of_row] == suite.seeds
    with pytest.raises(ValueError, match='has a student, but .* has no LinearProbe'):
        replace(suite, rows=[Row('a', config, student=student)]).check()
