"""The notebook of the docs runs, in a kernel, and says what it should."""

import json
import re
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / 'docs' / 'tutorial.ipynb'


def test_it_is_stored_without_outputs() -> None:
    """Which would be those of another machine or version."""
    cells = json.loads(NOTEBOOK.read_text())['cells']
    code = [cell for cell in cells if cell['cell_type'] == 'code']
    assert code
    assert not any(cell['outputs'] or cell['execution_count'] for cell in code)


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed')
    pytest.importorskip('ipykernel', reason='ipykernel is not installed')
    nbformat = pytest.importorskip('nbformat')
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    where = {'metadata': {'path': str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    outputs = [
        output
        for cell in notebook.cells
        for output in cell.get('outputs', ())
        if output.get('name') != 'stderr'
    ]
    shown = [output.data for output in outputs if 'data' in output]
    text = ''.join(output.text for output in outputs if 'text' in output)
    assert "'student.py', 'student_last.pth'" in shown[1]['text/plain']
    assert len(shown[2]['image/png']) > 10_000
    right, every = re.search(r'(\d+) of (\d+) images are', text).groups()
    assert int(every) == 250 and int(right) > 0.6 * int(every)
    assert float(re.search(r'differ by (\S+) of', text).group(1)) < 1e-4
