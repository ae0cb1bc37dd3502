"""A distillation step against its parts: a student step and a teacher forward pass.

Three things run in turn in one process, on one batch as a dataloader returns it: a
training step of the distiller, a training step of the same student as a plain model,
and a forward pass of the teacher on preprocessed images. A training step is that of
mmengine: preprocess, forward, losses, backward, optimizer step.

A row gives the ratio distillation step / (student step + teacher forward) of the
times, round by round (median and quartiles). Its excess over 1 is the cost of the
distiller itself: the tap, the auxiliary head, the loss, the checks. The weights are
random, which does not affect the times. Peak memory is that of both steps, on top of
the models; see measure.py for the method.

A second table compares, for each method that works per pixel, the time and peak memory
of a step at the resolution of the labels with those of one at the resolution of the
student's logits.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import machine, parse_args, peak_memory, ratio_cells, times
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample
from rich.console import Console
from rich.table import Column, Table

from mmkd_logit.entry_point import run_tool
from mmkd_logit.registry import MODELS

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
METHODS = ('dhkd', 'kd')
# Images, height and width on each device, and number of rounds. The digits pair runs at
# the size of CIFAR images.
PAIRS = {
    'res34_res18_in1k': ({'cpu': (8, 224, 224), 'cuda': (128, 224, 224)}, 15),
    'res20_res8_digits': ({'cpu': (64, 32, 32), 'cuda': (64, 32, 32)}, 100),
    **{
        f'{pair}_cityscapes': ({'cpu': (2, 128, 256), 'cuda': (2, 512, 1024)}, 7)
        for pair in (
            'pspnet-r101_pspnet-r18',
            'deeplabv3-r101_deeplabv3-r18',
            'deeplabv3-r101_pspnet-r18',
            'segformer-b3_segformer-b0',
        )
    },
}
QUICK_PAIRS = {
    'res34_res18_in1k': ({'cpu': (2, 64, 64), 'cuda': (2, 64, 64)}, 3),
    'pspnet-r101_pspnet-r18_cityscapes': ({'cpu': (2, 64, 64), 'cuda': (2, 64, 64)}, 3),
}
TARGET, CITYSCAPES_TARGET = 1.05, 1.03
PIXEL_PAIRS = {
    'pspnet-r101_pspnet-r18_cityscapes': (2, 128, 256),
    'pspnet-r101_pspnet-r18_ade20k': (2, 128, 128),
    'segformer-b4_segformer-b0_ade20k': (2, 128, 128),
}
QUICK_PIXEL_PAIRS = {'pspnet-r101_pspnet-r18_cityscapes': (2, 64, 64)}
PIXEL_METHODS = ('kd', 'dhkd', 'mcld', 'kd_kendall-tau', 'dist', 'cwd')
PIXEL_ROUNDS, QUICK_PIXEL_ROUNDS, LABELS_TARGET = 5, 3, 1.1


def build(model: dict, cfg: Config, device: str) -> tuple[BaseModel, OptimWrapper]:
    """Build a model in training mode and its optimizer, as the Runner does."""
    built = MODELS.build({'data_preprocessor': cfg.data_preprocessor, **model})
    built.init_weights()
    built.to(device).train()
    return built, build_optim_wrapper(built, cfg.optim_wrapper)


def make_batch(cfg: Config, batch_size: int, size: tuple[int, int]) -> dict[str, Any]:
    """Make random images and labels, as a dataloader returns them."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch_size, len(cfg.data_preprocessor.mean), *size)
    images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    if cfg.default_scope == 'mmseg':
        pixels = []
        maps = torch.randint(19, (batch_size, 1, *size), generator=generator)
        for index, labels in enumerate(maps):
            sample = SegDataSample(metainfo=dict(img_shape=size, sample_idx=index))
            sample.gt_sem_seg = PixelData(data=labels)
            pixels.append(sample)
        return {'inputs': list(images), 'data_samples': pixels}
    classes = cfg.data_preprocessor.num_classes
    labels = torch.randint(classes, (batch_size,), generator=generator)
    samples = [
        DataSample(metainfo=dict(sample_idx=index)).set_gt_label(label)
        for index, label in enumerate(labels)
    ]
    return {'inputs': images, 'data_samples': samples}


def read(name: str, size: tuple[int, int]) -> Config:
    """Read a config, with random weights, for images of a size."""
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    init_default_scope(cfg.default_scope)
    cfg.model.teacher.checkpoint = None
    if cfg.default_scope == 'mmseg':
        cfg.model.student.pretrained = None
        cfg.model.student.backbone.init_cfg = None
        cfg.model.student.data_preprocessor.size = size
    # Random data cannot be learned: at the recipe's rate, training would diverge.
    cfg.optim_wrapper.optimizer.lr = 1e-3
    return cfg


def compare(
    name: str, batch_size: int, size: tuple[int, int], rounds: int, device: str
) -> tuple[list[float], list[float]]:
    """Return time ratios, and peak MiB of the distillation and the student step."""
    cfg = read(name, size)
    distiller, optim_wrapper = build(cfg.model, cfg, device)
    student, student_optim_wrapper = build(cfg.model.student, cfg, device)
    batch = make_batch(cfg, batch_size, size)
    inputs = distiller.data_preprocessor(batch, True)['inputs']
    work = [
        partial(distiller.train_step, batch, optim_wrapper),
        partial(student.train_step, batch, student_optim_wrapper),
        partial(distiller.teacher, inputs),
    ]
    ratios = [a / (b + c) for a, b, c in times(work, rounds, device)]
    return ratios, [peak_memory(step, device) for step in work[:2]]


def compare_resolutions(
    name: str, batch_size: int, size: tuple[int, int], rounds: int, device: str
) -> tuple[list[float], list[float]]:
    """Return time ratios labels / student, and the peak MiB of both steps."""
    cfg = read(name, size)
    batch = make_batch(cfg, batch_size, size)
    work = []
    for resolution in ('label', 'student'):
        cfg.model.resolution = resolution
        model, optim_wrapper = build(cfg.model, cfg, device)
        work.append(partial(model.train_step, batch, optim_wrapper))
    ratios = [a / b for a, b in times(work, rounds, device)]
    return ratios, [peak_memory(step, device) for step in work]


def main() -> None:
    args = parse_args(__doc__)
    MMLogger.get_current_instance().setLevel('WARNING')
    warnings.filterwarnings('ignore', message='.*random weights')
    table = Table(
        Column('config', no_wrap=True),
        *('batch', 'time, step / (student step + teacher)', 'quartiles', 'target'),
        *('peak MiB, step', 'student step'),
        title=f'Distillation step; {machine(args.device)}',
    )
    pairs = QUICK_PAIRS if args.quick else PAIRS
    for pair, (batches, rounds) in pairs.items():
        batch, height, width = batches[args.device]
        target = CITYSCAPES_TARGET if 'cityscapes' in pair else TARGET
        for method in METHODS:
            name = f'{method}/{pair}'
            ratios, memory = compare(name, batch, (height, width), rounds, args.device)
            table.add_row(
                *(name, f'{batch}, {height} x {width}'),
                *ratio_cells(ratios, most=target),
                *(f'{peak:,.1f}' for peak in memory),
            )
    Console(width=120).print(table)
    labels = Table(
        Column('config', no_wrap=True),
        *('time, labels / student', 'quartiles', 'target'),
        *('peak MiB, labels', 'student'),
    )
    rounds = QUICK_PIXEL_ROUNDS if args.quick else PIXEL_ROUNDS
    pixels = QUICK_PIXEL_PAIRS if args.quick else PIXEL_PAIRS
    methods = ('mcld',) if args.quick else PIXEL_METHODS
    for pair, (batch, height, width) in pixels.items():
        for name in [f'{method}/{pair}' for method in methods]:
            if not (CONFIGS / f'{name}.py').is_file():
                continue
            ratios, memory = compare_resolutions(
                name, batch, (height, width), rounds, args.device
            )
            labels.add_row(
                name,
                *ratio_cells(ratios, most=LABELS_TARGET),
                *(f'{peak:,.1f}' for peak in memory),
            )
    Console(width=120).print(labels)


if __name__ == '__main__':
    run_tool(main)
