"""Names the command line offers, importable without torch; a test holds them equal to the tables they stand for."""

from __future__ import annotations

METHOD_NAMES = ("lora", "adapter", "compacter", "soft-prompt", "bitfit", "full")
UNSUPPORTED_METHODS = {
    "prefix": "OpenDelta's prefix tuning knows neither XLM-R's attention nor transformers 5; use --method soft-prompt",
}
STRATEGY_DENSITIES = {"linear": None, "ties": 0.2, "dare": 0.5, "svd": None}
"""How `xpet merge` combines languages -> share of the values it keeps unless given, None where it keeps all."""
SOURCE_NAMES = ("demo", "xtd", "multi30k", "table")
EXPORT_OPTIONS = {
    "checkpoint": ("dtype", "shard_size", "pytorch_bin"), "peft": (), "opendelta": (), "onnx": (),
    "sentence-transformers": ("dtype", "shard_size"),
}  # fmt: skip
"""What `xpet merge` writes -> the settings of how weights are stored that it heeds. The first is written by itself, the
others by `--export`; each is a file of `xpet.jobs.merge.formats`."""
FORM_NAMES = tuple(EXPORT_OPTIONS)
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
"""Endings of files that hold texts in columns, for `xpet translate`."""
