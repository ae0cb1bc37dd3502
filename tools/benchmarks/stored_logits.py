"""A step from stored logits and one with the live teacher, against the plain student's.

Three things run in turn in one process, on one batch as a dataloader returns it: a
training step of a distiller that reads its teacher's logits from a store, a training
step of the same student as a plain model, and one of the distiller with a live teacher.
The store holds random logits of a few batches, and its files are in the page cache, as
they are when worker processes have loaded the images. The additional work of the
workers (seeding, and checking image and logits) is not part of a step; it is shown in
microseconds per image.

A row gives the ratios of the times to the plain student's, round by round (median
and quartiles). The weights are random, which does not affect the times.
"""

from __future__ import annotations

import tempfile
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from measure import machine, parse_args, ratio_cells, times
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Column, Table
from step import CONFIGS, build, make_batch

from mmkd_logit.entry_point import run_tool
from mmkd_logit.logit_store import (
    LogitRecord,
    LogitStore,
    StoreWriter,
    digest_of_image,
)
from mmkd_logit.logit_store.header import FORMAT
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.teachers.normalization import describe_preprocessor
from mmkd_logit.rng import kept_rng, seed_cpu
from mmkd_logit.views import IN_SAMPLE

PAIRS = {
    'kd/cifar100/res32x4_res8x4': ({'cpu': 64, 'cuda': 64}, (32, 32), 30),
    'kd/res34_res18_in1k': ({'cpu': 8, 'cuda': 128}, (256, 256), 15),
    'kd/pspnet-r101_pspnet-r18_cityscapes': ({'cpu': 2, 'cuda': 8}, (256, 512), 7),
}
QUICK_PAIRS = {
    'kd/cifar100/res32x4_res8x4': ({'cpu': 4, 'cuda': 4}, (32, 32), 3),
    'kd/pspnet-r101_pspnet-r18_cityscapes': ({'cpu': 2, 'cuda': 2}, (64, 64), 3),
}
VIEWS, BATCHES = 2, 4
TARGET = 1.05


def write_store(
    folder: Path, live: LogitDistiller, logits: torch.Tensor, images: list[int]
) -> LogitStore:
    """Write a store of random logits, in the shape of the teacher's."""
    count = BATCHES * len(logits)
    record = LogitRecord(tuple(logits.shape[1:]))
    header = {
        'format': FORMAT,
        'dataset': None,
        'images': count,
        'classes': None,
        'views': VIEWS,
        'seed': 0,
        'normalization': describe_preprocessor(live.data_preprocessor),
        'teacher': {},
        'teacher_weights': '',
        'teacher_classes': None,
        'traits': live.task.traits(),
        'metrics': None,
        'record': record.to_header(),
        'made_with': {},
    }
    writer = StoreWriter(folder, header)
    writer.open()
    for view in range(VIEWS):
        for index in range(count):
            row = torch.randn(1, *record.shape)
            writer.write([(view, index)], row, [images[index % len(images)]])
    writer.finish()
    return LogitStore(folder)


def of_a_worker(store: LogitStore, image: torch.Tensor, rounds: int) -> float:
    """Return a worker's microseconds per image for a store, in batches of 16."""
    seconds = []
    for _ in range(rounds):
        start = perf_counter()
        with kept_rng():
            for index in range(16):
                seed_cpu(0, 0, index)
                store.verify(0, 0, digest_of_image(image))
        seconds.append((perf_counter() - start) / 16)
    return 1e6 * median(seconds)


def compare(
    name: str, batch_size: int, size: tuple[int, int], rounds: int, device: str
) -> tuple[list[float], list[float], float, int]:
    """Return ratios (store, live teacher), a worker's us per image, bytes per row."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.checkpoint = None
    if cfg.default_scope == 'mmseg':
        cfg.model.student.pretrained = None
        cfg.model.student.data_preprocessor.size = size
    # Random data cannot be learned: at the recipe's rate, training would diverge.
    cfg.optim_wrapper.optimizer.lr = 1e-3
    batch = make_batch(cfg, batch_size, size)
    live, live_optim = build(cfg.model, cfg, device)
    student, student_optim = build(cfg.model.student, cfg, device)
    inputs = live.data_preprocessor(batch, True)['inputs']
    images = [digest_of_image(image) for image in batch['inputs']]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'store'
        store = write_store(path, live, live.teacher(inputs).cpu(), images)
        cfg.model.teacher = dict(cache=str(path))
        stored, stored_optim = build(cfg.model, cfg, device)
        for index, sample in enumerate(batch['data_samples']):
            place = (index % VIEWS, index * BATCHES)
            sample.set_field(place, IN_SAMPLE, field_type='metainfo')
        work = [
            partial(stored.train_step, batch, stored_optim),
            partial(student.train_step, batch, student_optim),
            partial(live.train_step, batch, live_optim),
        ]
        measured = times(work, rounds, device)
        worker = of_a_worker(store, batch['inputs'][0], rounds)
    from_store = [a / b for a, b, _ in measured]
    from_live = [c / b for _, b, c in measured]
    return from_store, from_live, worker, store.record.size


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    table = Table(
        Column('config', no_wrap=True),
        *('batch', 'time, from the store / plain step', 'quartiles', 'target'),
        *('live teacher / plain step', 'worker, us per image', 'bytes per image'),
        title=f'Step from stored logits; {machine(args.device)}',
    )
    for name, (batches, size, rounds) in (QUICK_PAIRS if args.quick else PAIRS).items():
        batch = batches[args.device]
        found = compare(name, batch, size, rounds, args.device)
        from_store, from_live, worker, row = found
        table.add_row(
            *(name, f'{batch}, {size[0]} x {size[1]}'),
            *ratio_cells(from_store, most=TARGET),
            *(f'{median(from_live):.2f}', f'{worker:.0f}', f'{row:,}'),
        )
    Console(width=150).print(table)


if __name__ == '__main__':
    run_tool(main)
