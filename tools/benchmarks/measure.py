"""Time and peak memory of several functions, compared in one process.

They run in turn (A, B, A, B, ...), so that other load on the machine affects all of
them alike, and their times are compared round by round.

Peak memory is the maximum that tensors hold beyond what they held before. On a GPU,
PyTorch's allocator counts it. On a CPU, it is the running sum of all allocations and
deallocations that the profiler records: temporaries inside operators count too, and
every run gives the same number, unlike the resident memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile

from mmkd_logit.arguments import Parser

# Otherwise the profiler reports every start and stop on stderr.
os.environ.setdefault('KINETO_LOG_LEVEL', '6')

Work = Callable[[], object]


def parse_args(description: str | None) -> argparse.Namespace:
    """Read the arguments of a benchmark."""
    parser = Parser(description)
    parser.add_argument(
        '--device',
        choices=['cpu', 'cuda'],
        default='cuda' if torch.cuda.is_available() else 'cpu',
        help='where to run; defaults to a GPU if there is one',
    )
    parser.add_argument(
        '--quick',
        action='store_true',
        help='small shapes, few rounds: a smoke test, whose ratios mean nothing',
    )
    return parser.parse_args()


def machine(device: str) -> str:
    """Describe the machine of the measurements, for the title of a table."""
    if device == 'cuda':
        return f'{torch.cuda.get_device_name()}, torch {torch.__version__}'
    return f'CPU, {torch.get_num_threads()} threads, torch {torch.__version__}'


def times(work: Sequence[Work], rounds: int, device: str) -> list[list[float]]:
    """Time each function in each round in seconds, after two warm-up rounds.

    Args:
        work (Sequence[Callable]): Functions to run, in this order in every round.
        rounds (int): Number of rounds to time.
        device (str): 'cpu' or 'cuda'.

    Returns:
        list[list[float]]: ``rounds`` lists of ``len(work)`` times.
    """
    return [[_seconds(each, device) for each in work] for _ in range(rounds + 2)][2:]


def _seconds(work: Work, device: str) -> float:
    if device == 'cuda':
        torch.cuda.synchronize()
    start = perf_counter()
    work()
    if device == 'cuda':
        torch.cuda.synchronize()
    return perf_counter() - start


def peak_memory(work: Work, device: str) -> float:
    """Return the peak memory of tensors in MiB, beyond what they held before."""
    if device == 'cuda':
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / 'trace.json'
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())['traceEvents']
    changes = sorted(
        (event['ts'], index, event['args']['Bytes'])
        for index, event in enumerate(events)
        if event.get('name') == '[memory]'
    )
    return max(accumulate((size for _, _, size in changes), initial=0)) / 2**20


def ratio_cells(
    ratios: Sequence[float], least: float | None = None, most: float | None = None
) -> tuple[str, str, str]:
    """Format median, quartiles and target of ratios as cells of a table.

    Args:
        ratios (Sequence[float]): One per round.
        least (float, optional): Target: the median is not below it. Defaults to None.
        most (float, optional): Target: the median is not above it. Defaults to None.

    Returns:
        tuple[str, str, str]: The three cells; the median is red if it misses a target.
    """
    middle = median(ratios)
    low, _, high = quantiles(ratios, n=4)
    target, missed = '', False
    if least is not None:
        target, missed = f'>= {least}', middle < least
    elif most is not None:
        target, missed = f'<= {most}', middle > most
    style = 'bold red' if missed else 'bold'
    return f'[{style}]{middle:.3f}[/]', f'{low:.2f} to {high:.2f}', target
