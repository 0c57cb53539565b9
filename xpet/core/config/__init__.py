"""Frozen configurations: what the command line, a test or Python hands to a job."""

from __future__ import annotations

from xpet.core.config.align import AlignConfig, AlignPlan
from xpet.core.config.evaluate import RESULT, TEXTS, EvalConfig, GateConfig
from xpet.core.config.fit import DEVICES, PRECISIONS, SELECTORS, FitConfig, FitPlan
from xpet.core.config.merge import DTYPES, CombineConfig, MergeConfig
from xpet.core.config.parts import (
    DEMO,
    TRAIN_PARTS,
    DataConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    to_dict,
)
from xpet.core.config.translate import DIRECTIONS, TranslateConfig, TranslateDataConfig

__all__ = [
    "AlignConfig",
    "AlignPlan",
    "CombineConfig",
    "DEMO",
    "DEVICES",
    "DIRECTIONS",
    "DTYPES",
    "DataConfig",
    "EvalConfig",
    "FitConfig",
    "FitPlan",
    "GateConfig",
    "MergeConfig",
    "MethodConfig",
    "ModelConfig",
    "PRECISIONS",
    "RESULT",
    "RunConfig",
    "TextConfig",
    "SELECTORS",
    "TEXTS",
    "TRAIN_PARTS",
    "TranslateConfig",
    "TranslateDataConfig",
    "to_dict",
]
