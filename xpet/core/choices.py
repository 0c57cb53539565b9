"""Names the command line offers, importable without torch; a test holds them equal to the tables they stand for."""

from __future__ import annotations

METHOD_NAMES = ("lora", "adapter", "compacter", "soft-prompt", "bitfit", "full")
UNSUPPORTED_METHODS = {
    "prefix": "OpenDelta's prefix tuning knows neither XLM-R's attention nor transformers 5; use --method soft-prompt",
}
STRATEGY_DENSITIES = {"linear": None, "ties": 0.2, "dare": 0.5, "svd": None}
"""How `xpet merge` combines languages -> share of the values it keeps unless given, None where it keeps all."""
SOURCE_NAMES = ("demo", "xtd", "multi30k", "table")
FORM_NAMES = ("checkpoint", "peft", "opendelta", "onnx", "sentence-transformers")
"""What `xpet merge` writes: the first by itself, the others by `--export`."""
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
"""Endings of files that hold texts in columns, for `xpet translate`."""
