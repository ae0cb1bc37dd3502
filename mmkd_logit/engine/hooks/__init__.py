"""Hooks that watch or schedule the training step."""

from mmkd_logit.engine.hooks.class_check_hook import ClassCheckHook
from mmkd_logit.engine.hooks.curriculum_hook import CurriculumHook
from mmkd_logit.engine.hooks.epoch_seed_hook import EpochSeedHook
from mmkd_logit.engine.hooks.export_student_hook import ExportStudentHook
from mmkd_logit.engine.hooks.gradient_conflict_hook import GradientConflictHook
from mmkd_logit.engine.hooks.load_from_hook import LoadFromHook
from mmkd_logit.engine.hooks.loss_weight_hook import LossWeightHook
from mmkd_logit.engine.hooks.neural_collapse_hook import NeuralCollapseHook
from mmkd_logit.engine.hooks.teacher_check_hook import TeacherCheckHook

__all__ = [
    'ClassCheckHook',
    'CurriculumHook',
    'EpochSeedHook',
    'ExportStudentHook',
    'GradientConflictHook',
    'LoadFromHook',
    'LossWeightHook',
    'NeuralCollapseHook',
    'TeacherCheckHook',
]
