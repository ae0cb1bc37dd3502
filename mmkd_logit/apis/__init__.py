"""Functions shared by the tools: configs, Runners, checkpoints and predictions."""

from mmkd_logit.apis.config import (
    check_data,
    check_resume,
    class_names_in,
    config_name,
    make_config,
    read_config,
)
from mmkd_logit.apis.models import (
    build_model,
    count_parameters,
    is_segmentor,
    load_model,
    load_segmentors,
    load_weights,
    predict_models,
    predict_segmentors,
    segment,
)
from mmkd_logit.apis.next_steps import next_steps
from mmkd_logit.apis.runner import build_runner, latest_checkpoint
from mmkd_logit.apis.stored_logits import StoreSettings, store_logits

__all__ = [
    'StoreSettings',
    'build_model',
    'build_runner',
    'check_data',
    'check_resume',
    'class_names_in',
    'config_name',
    'count_parameters',
    'is_segmentor',
    'latest_checkpoint',
    'load_model',
    'load_segmentors',
    'load_weights',
    'make_config',
    'next_steps',
    'predict_models',
    'predict_segmentors',
    'read_config',
    'segment',
    'store_logits',
]
