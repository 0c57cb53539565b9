"""xpet lifts the weak languages of a multilingual CLIP and measures the disparity between languages.

Importing this package imports nothing heavy; the Python API is loaded on first use:

    >>> import xpet
    >>> result = xpet.align(xpet.AlignConfig(languages=("de",)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xpet.version import VERSION as __version__

if TYPE_CHECKING:
    from xpet.core.config import (
        AlignConfig,
        DataConfig,
        EvalConfig,
        FitConfig,
        MergeConfig,
        MethodConfig,
        ModelConfig,
        TextConfig,
        TranslateConfig,
        TranslateDataConfig,
    )
    from xpet.core.errors import XpetError
    from xpet.jobs.align.chain import run as align
    from xpet.jobs.encoder.demo_pictures import demo_pictures
    from xpet.jobs.encoder.dual_encoder import DualEncoder
    from xpet.jobs.encoder.load import load
    from xpet.jobs.eval.run import run as evaluate
    from xpet.jobs.merge.run import run as merge
    from xpet.jobs.translate.data_set import run as translate_data
    from xpet.jobs.translate.run import run as translate

_LAZY = {
    "AlignConfig": ("xpet.core.config", "AlignConfig"),
    "DataConfig": ("xpet.core.config", "DataConfig"),
    "DualEncoder": ("xpet.jobs.encoder.dual_encoder", "DualEncoder"),
    "EvalConfig": ("xpet.core.config", "EvalConfig"),
    "FitConfig": ("xpet.core.config", "FitConfig"),
    "MergeConfig": ("xpet.core.config", "MergeConfig"),
    "MethodConfig": ("xpet.core.config", "MethodConfig"),
    "ModelConfig": ("xpet.core.config", "ModelConfig"),
    "TextConfig": ("xpet.core.config", "TextConfig"),
    "TranslateConfig": ("xpet.core.config", "TranslateConfig"),
    "TranslateDataConfig": ("xpet.core.config", "TranslateDataConfig"),
    "XpetError": ("xpet.core.errors", "XpetError"),
    "align": ("xpet.jobs.align.chain", "run"),
    "demo_pictures": ("xpet.jobs.encoder.demo_pictures", "demo_pictures"),
    "evaluate": ("xpet.jobs.eval.run", "run"),
    "load": ("xpet.jobs.encoder.load", "load"),
    "merge": ("xpet.jobs.merge.run", "run"),
    "translate": ("xpet.jobs.translate.run", "run"),
    "translate_data": ("xpet.jobs.translate.data_set", "run"),
}

__all__ = [
    "AlignConfig", "DataConfig", "DualEncoder", "EvalConfig", "FitConfig", "MergeConfig", "MethodConfig", "ModelConfig",
    "TextConfig", "TranslateConfig", "TranslateDataConfig", "XpetError", "__version__", "align", "demo_pictures",
    "evaluate", "load", "merge", "translate", "translate_data",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'xpet' has no attribute '{name}'")
    import importlib

    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)
