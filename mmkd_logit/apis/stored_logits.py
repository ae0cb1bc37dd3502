"""Storage of a teacher's logits for later runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import get_dist_info, is_main_process
from mmengine.evaluator import Evaluator
from mmengine.registry import EVALUATOR, init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import Progress
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from mmkd_logit.apis.models import build_model
from mmkd_logit.datasets import ViewDataset
from mmkd_logit.datasets.views import image_of, view_key
from mmkd_logit.engine.hooks.class_check_hook import class_names
from mmkd_logit.engine.hooks.teacher_check_hook import evaluate_teacher
from mmkd_logit.logit_store import LogitRecord, LogitStore, StoreWriter, digest_of_image
from mmkd_logit.logit_store.header import FORMAT, identity_of
from mmkd_logit.models import LogitDistiller
from mmkd_logit.models.settings import is_distiller
from mmkd_logit.models.teachers.description import describe_teacher, digest_of_weights
from mmkd_logit.models.teachers.live_views import FullBatch
from mmkd_logit.models.teachers.normalization import describe_preprocessor
from mmkd_logit.version import __version__
from mmkd_logit.views import IN_SAMPLE, with_views, without_view_keys

# Number of images that are made twice, to check that they come out the same.
_TRIED = 8


@dataclass(frozen=True)
class StoreSettings:
    """Settings of a store of logits.

    Attributes:
        folder (Path): Folder of the store.
        views (int): Number of views of each image, 1 or more.
        dtype (str): 'float32' or 'float16'.
        seed (int): Seed of the views.
        top_k (int, optional): Number of largest logits to keep. None: all.
        tau (float): Temperature for the mass of the others, with ``top_k``.
        batch_size (int, optional): Batch size of the teacher. None: that of training.
    """

    folder: Path
    views: int
    dtype: str = 'float32'
    seed: int = 0
    top_k: int | None = None
    tau: float = 4.0
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if self.views < 1:
            raise ValueError(f'--views must be 1 or more, but got {self.views}.')


def store_logits(cfg: Config, settings: StoreSettings, console: Console) -> None:
    """Store the logits of a config's teacher for views of its training images.

    With several processes, each stores its share. An interrupted store is continued.

    Args:
        cfg (Config): Config of a distillation, as :func:`read_config` returns it.
        settings (StoreSettings): Settings of the store.
        console (Console): Where the first process shows progress.

    Raises:
        FileExistsError: If another process is writing the store.
        FileNotFoundError: If the teacher's checkpoint does not exist.
        OSError: If the disk has too little space.
        ValueError: If the config has no teacher, blends images, or draws random
            numbers that cannot be seeded; or if the folder holds a different store,
            finished or not.
    """
    if not is_distiller(cfg.model):
        raise ValueError(
            'Logits can only be stored for a config with a teacher, but the model of '
            f'this one is a {cfg.model.get("type")}.'
        )
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    teacher_cfg = without_view_keys(cfg.model.teacher)
    if not isinstance(teacher_cfg, dict):
        raise ValueError(
            'Only the logits of a single teacher can be stored, but the config has a '
            f'list of {len(teacher_cfg)}. Run several teachers live, or keep one.'
        )
    cfg.model.teacher = teacher_cfg
    model = build_model(cfg).to(get_device()).eval()
    if getattr(model.data_preprocessor, 'batch_augments', None) is not None:
        raise ValueError(
            'The student trains with mixup or CutMix (batch augments), which blend the '
            'images of a batch: logits of such images cannot be stored. Remove '
            'student.train_cfg.augments.'
        )
    asked = {'views': settings.views, 'view_seed': settings.seed}
    like = Runner.build_dataloader(with_views(cfg.train_dataloader, asked))
    dataset = like.dataset
    _check_repeatable(dataset)
    model.class_names = class_names(dataset)
    model.load_teacher()
    run = FullBatch(model.teacher)
    batch_size = settings.batch_size or like.batch_size or like.batch_sampler.batch_size
    # The first batch has the full size, whatever remains to be stored.
    keys = [index % len(dataset) for index in range(batch_size)]
    _, _, logits = _run(model, run, like.collate_fn(dataset.__getitems__(keys)))
    tau = None if settings.top_k is None else settings.tau
    shape = tuple(logits.shape[1:])
    record = LogitRecord(shape, settings.dtype, settings.top_k, tau)
    header = _make_header(cfg, model, teacher_cfg, dataset, record, settings)
    if settings.folder.is_dir():
        LogitStore(settings.folder).compare(identity_of(header))
        if is_main_process():
            console.print(f'{settings.folder} already exists', soft_wrap=True)
        return
    writer = StoreWriter(settings.folder, header)
    if is_main_process():
        console.print(_plan(writer), highlight=False, soft_wrap=True)
    writer.open()
    missing = _Missing(writer)
    loader = DataLoader(
        dataset,
        batch_size,
        sampler=missing,
        num_workers=like.num_workers,
        collate_fn=like.collate_fn,
        pin_memory=like.pin_memory,
    )
    with Progress(console=console, disable=not is_main_process()) as bars:
        bar = bars.add_task('storing logits', total=len(missing))
        for batch in loader:
            places, images, logits = _run(model, run, batch)
            writer.write(places, logits, images)
            bars.update(bar, completed=missing.passed)
        bars.update(bar, completed=len(missing))
    writer.finish()
    if is_main_process():
        console.print(f'written to {writer.folder}', highlight=False, soft_wrap=True)


def _check_repeatable(dataset: ViewDataset) -> None:
    """Check that seeds fully determine the output of the pipeline."""
    keys = [view_key(0, index) for index in range(min(_TRIED, len(dataset)))]
    first, second = (
        [image_of(data) for data in dataset.__getitems__(order)]
        for order in (keys, keys[::-1])
    )
    if first != second[::-1]:
        raise ValueError(
            'The training pipeline makes a different image the second time, although '
            'the generators of Python, NumPy and torch are seeded alike: a transform '
            'keeps state, or has its own generator. Remove it, or train with a live '
            'teacher.'
        )


@torch.no_grad()
def _run(
    model: LogitDistiller, run: FullBatch, batch: dict[str, Any]
) -> tuple[list[tuple[int, int]], list[int], Tensor]:
    """Return view and index of each image of a batch, its digest, and the logits."""
    places = [sample.get(IN_SAMPLE) for sample in batch['data_samples']]
    images = [digest_of_image(image) for image in batch['inputs']]
    inputs = model.data_preprocessor(batch, True)['inputs']
    return places, images, run(inputs)


def _make_header(
    cfg: Config,
    model: LogitDistiller,
    teacher_cfg: dict[str, Any],
    dataset: ViewDataset,
    record: LogitRecord,
    settings: StoreSettings,
) -> dict[str, Any]:
    teacher = model.teacher
    return {
        'format': FORMAT,
        **dataset.describe(),
        'views': settings.views,
        'seed': settings.seed,
        'normalization': describe_preprocessor(model.data_preprocessor),
        'teacher': describe_teacher(teacher_cfg),
        'teacher_weights': digest_of_weights(teacher.module),
        'teacher_classes': teacher.classes and list(teacher.classes),
        'traits': model.task.traits(),
        'metrics': _evaluate(cfg, model),
        'record': record.to_header(),
        'made_with': {'mmkd_logit': __version__, 'torch': torch.__version__},
    }


def _evaluate(cfg: Config, model: LogitDistiller) -> dict[str, float] | None:
    """Return the metrics of the teacher on the validation set, if there is one."""
    if cfg.get('val_dataloader') is None or not cfg.get('val_evaluator'):
        return None
    loader = Runner.build_dataloader(cfg.val_dataloader)
    settings = cfg.val_evaluator
    if isinstance(settings, dict) and 'metrics' in settings:
        evaluator = EVALUATOR.build({'type': 'Evaluator', **settings})
    else:
        evaluator = Evaluator(settings)
    evaluator.dataset_meta = getattr(loader.dataset, 'metainfo', None)
    return evaluate_teacher(model, evaluator, loader)


def _plan(writer: StoreWriter) -> str:
    """Describe the planned store and its disk usage."""
    record, missing = writer.record, writer.missing_size()
    what = f'{record.top_k} of ' if record.top_k is not None else ''
    return (
        f'{writer.views} views of {writer.images:,} images, {what}'
        f'{" x ".join(map(str, record.shape))} logits in {record.dtype} each: '
        f'{writer.views} x {writer.images:,} x {record.size:,} bytes and a header, '
        f'{writer.size:,} bytes in all; {missing:,} bytes are still to be written, '
        f'{writer.free_size():,} bytes of disk are free'
    )


class _Missing(Sampler):
    """Images that this process has yet to store, found during iteration."""

    def __init__(self, writer: StoreWriter) -> None:
        self._writer = writer
        self._rank, self._world = get_dist_info()
        self.passed = 0
        """Number of images passed so far, whether stored before or not."""

    def __iter__(self) -> Iterator[int]:
        for view in range(self._writer.views):
            for index in self._writer.missing(view, self._rank, self._world):
                self.passed = view * self._share + index // self._world + 1
                yield view_key(view, index)

    @property
    def _share(self) -> int:
        return len(range(self._rank, self._writer.images, self._world))

    def __len__(self) -> int:
        return self._writer.views * self._share
