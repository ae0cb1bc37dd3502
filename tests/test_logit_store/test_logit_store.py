"""What is stored is what is read, or there is an error."""

import json
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch

from mmkd_logit.functional import kd_loss, lump_classes
from mmkd_logit.logit_store import (
    LogitRecord,
    LogitStore,
    StoreWriter,
    TopRows,
    digest_of_image,
    plain_settings,
)
from mmkd_logit.logit_store.header import FORMAT, header_text
from mmkd_logit.logit_store.writer import shutil as writers_shutil

IMAGES, VIEWS = 7, 3
MakeHeader = Callable[..., dict]


def make_header(record: LogitRecord, **changes: object) -> dict:
    return {
        'format': FORMAT,
        'images': IMAGES,
        'views': VIEWS,
        'seed': 4,
        'dataset': {'type': 'Mine', 'pipeline': [{'type': 'Crop', 'size': 8}]},
        'classes': ['a', 'b'],
        'normalization': {'mean': [0.0]},
        'teacher': {'model': {'type': 'A'}},
        'teacher_weights': 'abc',
        'teacher_classes': None,
        'traits': {},
        'metrics': None,
        'record': record.to_header(),
        'made_with': {'torch': '2'},
        **changes,
    }


def logits_of(record: LogitRecord, view: int) -> torch.Tensor:
    torch.manual_seed(view)
    return torch.randn(IMAGES, *record.shape) * 5


def write(
    folder: Path,
    record: LogitRecord,
    ranks: int = 1,
    most: int | None = None,
    **changes: object,
) -> StoreWriter:
    """Write what is missing, at most so many images, in the manner of several ranks."""
    writer = StoreWriter(folder, make_header(record, **changes))
    writer.open()
    left = IMAGES * VIEWS if most is None else most
    for view in range(VIEWS):
        logits = logits_of(record, view)
        for rank in range(ranks):
            for index in list(writer.missing(view, rank, ranks))[:left]:
                left -= 1
                writer.write([(view, index)], logits[index : index + 1], [100 + index])
    return writer


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A finished store of 10 classes."""
    writer = write(tmp_path / 'store', LogitRecord((10,)))
    writer.finish()
    return tmp_path / 'store'


@pytest.mark.parametrize('shape', [(10,), (3, 4, 5)])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
@pytest.mark.parametrize('ranks', [1, 2])
def test_reads_what_was_written(
    shape: tuple[int, ...], dtype: str, ranks: int, tmp_path: Path
) -> None:
    record = LogitRecord(shape, dtype)
    writer = write(tmp_path / 'store', record, ranks)
    promised = writer.size
    writer.finish()
    store = LogitStore(tmp_path / 'store')
    assert sum(f.stat().st_size for f in store.folder.iterdir()) == promised
    files = sorted(path.name for path in store.folder.iterdir())
    assert files == ['header.json', *(f'view_{v:04}.bin' for v in range(VIEWS))]
    places = [(2, 6), (0, 1), (1, 0)]
    found = store.read(places)
    assert found.dtype == getattr(torch, dtype)
    for row, (view, index) in zip(found, places):
        expected = logits_of(record, view)[index].to(found.dtype)
        assert torch.equal(row, expected)
        store.verify(view, index, 100 + index)


def test_another_process_reads_the_files_itself(store: Path) -> None:
    first = LogitStore(store)
    row = first.read([(1, 3)])
    second = pickle.loads(pickle.dumps(first))
    assert torch.equal(second.read([(1, 3)]), row)


@pytest.mark.parametrize('ranks', [1, 2, 3])
def test_goes_on_where_it_stopped(ranks: int, tmp_path: Path) -> None:
    record, folder = LogitRecord((10,)), tmp_path / 'store'
    first = write(folder, record, most=11, metrics={'mIoU': 40.0})
    first._close()
    first._lock.close()
    # The last write was cut off.
    part = tmp_path / 'store.part'
    torn = part / 'view_0001.bin'
    with torn.open('r+b') as file:
        file.seek(3 * record.size + 5)
        file.write(b'torn')
    with pytest.raises(FileNotFoundError, match='is not finished .* continues where'):
        LogitStore(folder)
    writer = StoreWriter(folder, make_header(record, metrics={'mIoU': 40.0}))
    writer.open()
    missing = [
        sorted(i for rank in range(ranks) for i in writer.missing(view, rank, ranks))
        for view in range(VIEWS)
    ]
    assert missing == [[], [3, 4, 5, 6], list(range(7))]
    writer._lock.close()
    # An evaluation on a GPU can move in the last digit; the first one is kept.
    write(folder, record, ranks, metrics={'mIoU': 40.00001}).finish()
    assert LogitStore(folder).header['metrics'] == {'mIoU': 40.0}
    found = LogitStore(folder).read([(1, index) for index in range(IMAGES)])
    assert torch.equal(found, logits_of(record, 1))
    assert not part.exists()


def test_what_is_not_complete_gets_no_name(tmp_path: Path) -> None:
    writer = write(tmp_path / 'store', LogitRecord((10,)), most=20)
    with pytest.raises(RuntimeError, match='Image 6 of view 2 is missing'):
        writer.finish()
    assert not (tmp_path / 'store').exists()


def test_two_writers(tmp_path: Path) -> None:
    writer = write(tmp_path / 'store', LogitRecord((10,)), most=1)
    with pytest.raises(FileExistsError, match=r'Another process is writing .*\.part'):
        StoreWriter(tmp_path / 'store', make_header(LogitRecord((10,)))).open()
    writer._lock.close()


def test_begun_as_another_store(tmp_path: Path) -> None:
    write(tmp_path / 'store', LogitRecord((10,)), most=1)._lock.close()
    message = r'store\.part was begun as another store: seed is 5 and was 4\. Remove'
    with pytest.raises(ValueError, match=message):
        StoreWriter(tmp_path / 'store', make_header(LogitRecord((10,)), seed=5))


def test_a_full_disk_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter(tmp_path / 'store', make_header(LogitRecord((10,))))
    usage = writers_shutil.disk_usage(tmp_path)._replace(free=writer.size - 1)
    monkeypatch.setattr(writers_shutil, 'disk_usage', lambda path: usage)
    message = f'needs {writer.size:,} bytes more, but {writer.size - 1:,} are free'
    with pytest.raises(OSError, match=message):
        writer.open()
    assert list(tmp_path.iterdir()) == []


def test_truncated(store: Path) -> None:
    path = store / 'view_0002.bin'
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ValueError, match=r'view_0002\.bin has 335 bytes, .*promises 3'):
        LogitStore(store)


@pytest.mark.parametrize('byte', [0, 40, 44])
def test_altered(byte: int, store: Path) -> None:
    """A logit, the digest of the image, and the checksum itself."""
    record = LogitRecord((10,))
    with (store / 'view_0001.bin').open('r+b') as file:
        file.seek(2 * record.size + byte)
        old = file.read(1)
        file.seek(2 * record.size + byte)
        file.write(bytes([old[0] ^ 1]))
    opened = LogitStore(store)
    opened.verify(1, 1)
    with pytest.raises(ValueError, match=r'view_0001\.bin was altered.*image 2 does'):
        opened.verify(1, 2)


def test_views_that_were_swapped(store: Path) -> None:
    (store / 'view_0000.bin').rename(store / 'other')
    (store / 'view_0001.bin').rename(store / 'view_0000.bin')
    (store / 'other').rename(store / 'view_0001.bin')
    with pytest.raises(ValueError, match='was altered'):
        LogitStore(store).verify(0, 0)


def test_another_image(store: Path) -> None:
    opened = LogitStore(store)
    opened.verify(0, 3, 103)
    with pytest.raises(ValueError, match='Image 3 in view 0 is not the one whose'):
        opened.verify(0, 3, 104)


def test_altered_header(store: Path) -> None:
    path = store / 'header.json'
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, 'seed': 5}))
    with pytest.raises(ValueError, match=r'header\.json was altered'):
        LogitStore(store)
    for other in (1, FORMAT + 1, [FORMAT]):
        path.write_text(json.dumps({**header, 'format': other}))
        message = re.escape(f'has the format {other}, but this release reads {FORMAT}')
        with pytest.raises(ValueError, match=message):
            LogitStore(store)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match='missing, truncated or not the header'):
        LogitStore(store)


@pytest.mark.parametrize(
    'key', sorted(make_header(LogitRecord((10,))).keys() - {'format'})
)
def test_every_value_of_a_header_is_checked(key: str, store: Path) -> None:
    """Also of one whose checksum is right."""
    wrong = {
        'images': [0, -1, 7.0, '7', True, None, 2**40 + 1, 10**30],
        'views': [0, -3, 2.5, '3', True, [3], 10**18],
        'seed': ['4', 4.0, None, True],
        'classes': ['ab', ['a', 1], {'a': 1}],
        'teacher_classes': [0, [None]],
        'teacher_weights': [None, 3],
        'metrics': [3.0, {'top1': '99'}, {'top1': [1.0]}],
        'traits': [None, {'align_corners': 'no'}],
    }
    header = json.loads((store / 'header.json').read_text())
    del header['sha256']
    others = [['x'], 'x', 5]
    for value in wrong.get(key, others):
        (store / 'header.json').write_text(header_text({**header, key: value}))
        with pytest.raises(ValueError, match=rf'header\.json: {key} must be .* but is'):
            LogitStore(store)
    (store / 'header.json').write_text(
        header_text({k: header[k] for k in header if k != key})
    )
    with pytest.raises(ValueError, match=f'{key} must be .*, but is missing'):
        LogitStore(store)


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('shape', None),
        ('shape', 10),
        ('shape', []),
        ('shape', [0]),
        ('shape', [-10]),
        ('shape', ['10']),
        ('shape', [10.0]),
        ('shape', [[10]]),
        ('shape', [2**29]),
        ('shape', [10**30, 10**30]),
        ('dtype', 'int8'),
        ('dtype', 'object'),
        ('dtype', ['float32']),
        ('top_k', '3'),
        ('top_k', 2.0),
        ('top_k', True),
        ('top_k', 10**30),
        ('tau', 4.0),
        ('keys', 1),
    ],
)
def test_every_value_of_a_header_s_record_is_checked(
    key: str, value: object, store: Path
) -> None:
    header = json.loads((store / 'header.json').read_text())
    del header['sha256']
    header['record'][key] = value
    (store / 'header.json').write_text(header_text(header))
    with pytest.raises(ValueError, match=rf'header\.json: record: .*\b{key}\b'):
        LogitStore(store)


@pytest.mark.parametrize('tau', [None, 0, -1.0, math.nan, math.inf, '4', True, [4.0]])
def test_tau_of_top_k_is_checked(tau: object) -> None:
    with pytest.raises(ValueError, match='top_k needs tau, .* a number above 0'):
        LogitRecord((10,), top_k=2, tau=tau)


@pytest.mark.parametrize(
    'text', ['', '[]', '3', '{}', 'null', '"format"', '[' * 100_000, '{"a":' * 990]
)
def test_what_is_no_header(text: str, store: Path) -> None:
    (store / 'header.json').write_text(text)
    with pytest.raises(ValueError, match='missing, truncated or not the header'):
        LogitStore(store)


@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes')
def test_a_pipe_is_not_waited_for(store: Path, tmp_path: Path) -> None:
    opened = LogitStore(store)
    for name in ('view_0001.bin', 'header.json'):
        (store / name).unlink()
        os.mkfifo(store / name)
        with pytest.raises(ValueError, match=name.replace('.', r'\.')):
            LogitStore(store)
    with pytest.raises(ValueError, match=r'view_0001\.bin has 0 bytes'):
        opened.read([(0, 1), (1, 1)])
    part = write(tmp_path / 'other', LogitRecord((10,)), most=1)
    part._lock.close()
    (part.part / 'view_0002.bin').unlink()
    os.mkfifo(part.part / 'view_0002.bin')
    with pytest.raises(ValueError, match=r'view_0002\.bin is no file.*Remove'):
        StoreWriter(tmp_path / 'other', make_header(LogitRecord((10,))))


def test_truncated_while_it_is_read(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, path = LogitStore(store), store / 'view_0001.bin'
    open_view = opened._open

    def cut(view: int) -> IO[bytes]:
        file = open_view(view)
        os.truncate(path, path.stat().st_size - 1)
        return file

    with monkeypatch.context() as patch:
        patch.setattr(opened, '_open', cut)
        with pytest.raises(ValueError, match='ends within the logits of image 6'):
            opened.verify(1, 6)
    for read in (lambda: opened.read([(1, 0)]), lambda: opened.verify(1, 0)):
        with pytest.raises(ValueError, match=r'view_0001\.bin has 335 bytes'):
            read()


def test_removed_while_it_is_read(store: Path) -> None:
    opened = LogitStore(store)
    (store / 'view_0001.bin').unlink()
    opened.read([(0, 0)])
    with pytest.raises(ValueError, match=r'view_0001\.bin has 0 bytes'):
        opened.read([(0, 0), (1, 0)])


def test_records_of_another_store_of_the_same_layout(tmp_path: Path) -> None:
    record = LogitRecord((10,))
    for name, changes in (('a', {}), ('b', {'seed': 5}), ('c', {'metrics': {'m': 1}})):
        write(tmp_path / name, record, **changes).finish()
    opened = LogitStore(tmp_path / 'a')
    for view in range(VIEWS):
        path = f'view_{view:04}.bin'
        (tmp_path / 'a' / path).write_bytes((tmp_path / 'b' / path).read_bytes())
    for store in (opened, LogitStore(tmp_path / 'a')):
        with pytest.raises(ValueError, match='altered, or belongs to another store'):
            store.verify(1, 2)
    # Their header differs in measurements only: these are the same logits.
    (tmp_path / 'a' / path).write_bytes((tmp_path / 'c' / path).read_bytes())
    opened.verify(VIEWS - 1, 2, 102)


def test_there_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none.*does not exist.*cache_teacher'):
        LogitStore(tmp_path / 'none')


def test_of_something_else(store: Path) -> None:
    opened = LogitStore(store)
    there = make_header(LogitRecord((10,)))
    opened.compare({'dataset': there['dataset'], 'seed': 4})
    changed = {'type': 'Mine', 'pipeline': [{'type': 'Crop', 'size': 9}]}
    message = re.escape('dataset.pipeline[0].size is 9 and was 8; classes[0] is b and')
    with pytest.raises(ValueError, match=message):
        opened.compare({'dataset': changed, 'classes': ['b', 'a']})


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_logits_that_are_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match='logits that are not finite'):
        LogitRecord((2,)).encode(torch.tensor([[0.0, bad]]))


def test_float16_overflows() -> None:
    big = torch.tensor([[0.0, -7e4]])
    LogitRecord((2,)).encode(big)
    with pytest.raises(ValueError, match=r'of 7e\+04, which float16 cannot hold'):
        LogitRecord((2,), 'float16').encode(big)


def test_images_of_several_sizes() -> None:
    with pytest.raises(ValueError, match=r'shape \(3, 4, 6\) for an image, but \(3, 4'):
        LogitRecord((3, 4, 5)).encode(torch.zeros(1, 3, 4, 6))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(shape=(10,), dtype='int8'), "dtype must be 'float32' or 'float16'"),
        (dict(shape=(10,), top_k=9, tau=1.0), 'top_k must be from 1 to 8 for 10'),
        (dict(shape=(10,), top_k=2), 'top_k needs tau'),
        (dict(shape=(10, 4, 4), top_k=2, tau=1.0), 'a map cannot be resized'),
    ],
)
def test_layouts_that_cannot_be(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LogitRecord(**settings)


@pytest.mark.parametrize('classes', [3, 10, 70_000])
@pytest.mark.parametrize('dtype', ['float32', 'float16'])
@pytest.mark.parametrize('images', [1, 2, 5])
def test_any_number_of_largest_logits(images: int, dtype: str, classes: int) -> None:
    logits = torch.randn(images, classes).to(getattr(torch, dtype)).float()
    for k in {1, 2, 3, 7, classes - 2} - set(range(classes - 1, 8)):
        record = LogitRecord((classes,), dtype, k, tau=2.0)
        payloads = record.encode(logits)
        assert [len(payload) for payload in payloads] == [record.payload] * images
        top = record.decode(payloads)
        values, indices = logits.topk(k)
        assert torch.equal(top.values.float(), values)
        assert torch.equal(top.indices, indices)
        others = logits.double().scatter(1, indices, -torch.inf)
        rest = 2.0 * (others / 2.0).logsumexp(1)
        torch.testing.assert_close(top.rest.double(), rest, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(('dtype', 'tolerance'), [('float32', 1e-5), ('float16', 5e-3)])
def test_top_k(dtype: str, tolerance: float, tmp_path: Path) -> None:
    """The kept classes, and the mass of the others, are those of all logits."""
    tau = 4.0
    record = LogitRecord((100,), dtype, top_k=5, tau=tau)
    assert record.size == 5 * (record.payload - 4 - 10) // 5 + 10 + 4 + 8
    write(tmp_path / 'store', record).finish()
    full = logits_of(record, 1)
    top = LogitStore(tmp_path / 'store').read([(1, index) for index in range(IMAGES)])
    assert isinstance(top, TopRows)
    assert torch.equal(top.indices, full.topk(5).indices)
    spread = top.spread(100, tau)
    softmax, expected = (each.div(tau).softmax(1) for each in (spread, full))
    kept = softmax.gather(1, top.indices)
    torch.testing.assert_close(
        kept, expected.gather(1, top.indices), rtol=tolerance, atol=0
    )
    assert torch.equal(spread.argmax(1), full.argmax(1))
    student = torch.randn(IMAGES, 100)
    of_top, of_full = (
        kd_loss(*(lump_classes(z, top.indices, tau) for z in (student, teacher)), tau)
        for teacher in (spread, full)
    )
    torch.testing.assert_close(of_top, of_full, rtol=tolerance, atol=tolerance)


def test_lumped_classes_have_the_gradient_of_the_softmax() -> None:
    logits = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    kept = torch.tensor([[0, 5], [1, 2], [4, 3]])
    assert torch.autograd.gradcheck(lambda z: lump_classes(z, kept, 2.0), logits)


def test_digest_of_an_image_is_of_its_pixels() -> None:
    image = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    turned = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert digest_of_image(image) == digest_of_image(turned)
    turned[0, 0, 0] += 1
    assert digest_of_image(image) != digest_of_image(turned)


def test_settings_as_json_holds_them() -> None:
    settings = dict(a=(1, 2), data_root='x', b=[dict(type=dict, data_root='y', c=None)])
    expected = {'a': [1, 2], 'b': [{'type': 'builtins.dict', 'c': None}]}
    assert plain_settings(settings) == expected


@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='no /proc')
def test_memory_does_not_grow_with_the_store(tmp_path: Path) -> None:
    def resident() -> int:
        status = Path('/proc/self/status').read_text()
        return 1024 * int(re.search(r'RssFile:\s+(\d+)', status)[1])

    record = LogitRecord((19, 64, 64))  # 311 KB
    images = 1000
    header = make_header(record, images=images, views=1)
    writer = StoreWriter(tmp_path / 'store', header)
    writer.open()
    logits = torch.from_numpy(np.zeros((1, *record.shape), np.float32))
    writer.write([(0, 0)], logits, [1])
    writer._close()
    writer.part.rename(writer.folder)
    store = LogitStore(tmp_path / 'store')
    before, most = resident(), 0
    for index in range(images):
        store.read([(0, index)])
        most = max(most, resident())
    assert store.record.size * images > 300e6
    assert most - before < 100e6
