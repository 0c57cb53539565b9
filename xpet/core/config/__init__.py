"""Frozen configurations: what the command line, a test or Python hands to a job."""

from __future__ import annotations

from xpet.core.config.align import AlignConfig
from xpet.core.config.evaluate import RESULT, TEXTS, EvalConfig, GateConfig
from xpet.core.config.merge import DTYPES, CombineConfig, MergeConfig
from xpet.core.config.parts import (
    DEVICES,
    PRECISIONS,
    SELECTORS,
    TRAIN_PARTS,
    DataConfig,
    FitConfig,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TextConfig,
    to_dict,
)
from xpet.core.config.translate import DIRECTIONS, TranslateConfig, TranslateDataConfig

__all__ = [
    "AlignConfig",
    "CombineConfig",
    "DEVICES",
    "DIRECTIONS",
    "DTYPES",
    "DataConfig",
    "EvalConfig",
    "FitConfig",
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
