"""Suites of configs, their runs and result tables, for tools/compare.py."""

from mmkd_logit.suites.jobs import Slot, make_slots, train_all
from mmkd_logit.suites.report import Report
from mmkd_logit.suites.run import Run, StoreRun, plan_runs
from mmkd_logit.suites.suite import (
    Row,
    Suite,
    data_to_make,
    prepare_data,
    read_suite,
    suite_of_configs,
)

__all__ = [
    'Report',
    'Row',
    'Run',
    'Slot',
    'StoreRun',
    'Suite',
    'data_to_make',
    'make_slots',
    'plan_runs',
    'prepare_data',
    'read_suite',
    'suite_of_configs',
    'train_all',
]
