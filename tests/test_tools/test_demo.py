"""What tools/demo.py trains exists; a run of it takes minutes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from command_lines import CONFIGS, REPO
from mmengine.config import Config, DictAction

from mmkd_logit.registry import MODELS


@pytest.fixture(scope='module')
def demo() -> ModuleType:
    path = REPO / 'tools' / 'demo.py'
    spec = importlib.util.spec_from_file_location('demo', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['digits', 'scenes', 'mcld', 'heads'])
def test_students(name: str, demo: ModuleType) -> None:
    experiment = demo.DEMOS[name]
    names = [student.name for student in experiment.students]
    assert len(set(names)) == len(names)
    assert (CONFIGS / f'{experiment.teacher}.py').is_file()
    for student in experiment.students:
        cfg = Config.fromfile(CONFIGS / f'{student.config}.py')
        options = dict(option.split('=', 1) for option in student.options)
        values = {key: DictAction._parse_iterable(options[key]) for key in options}
        cfg.merge_from_dict(values)
        if 'losses' not in cfg.model:
            continue
        expected = Path(experiment.teacher).name
        assert Path(cfg.model.teacher.config).stem == expected
        cfg.model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
        MODELS.build({'_scope_': cfg.default_scope, **cfg.model})
