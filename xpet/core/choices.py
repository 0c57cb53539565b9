"""Names the command line offers, importable without torch; a test holds them equal to the tables they stand for."""

from __future__ import annotations

METHOD_NAMES = ("lora", "adapter", "compacter", "soft-prompt", "bitfit", "full", "linear-map")
"""`--method`: the methods of `xpet.methods.table`."""
FITTED_METHODS = ("linear-map",)
"""Those of them that are fitted in closed form, not trained."""
UNSUPPORTED_METHODS = {
    "prefix": "OpenDelta's prefix tuning knows neither XLM-R's attention nor transformers 5; use --method soft-prompt",
}
"""Methods that are refused -> why, and what to use instead."""
STRATEGY_DENSITIES = {"linear": None, "ties": 0.2, "dare": 0.5, "svd": None}
"""How `xpet merge` combines languages -> default of `--density`, the share of values kept; None: all are kept."""
MAP_NAMES = ("shift", "rotation", "ridge")
"""The kinds of closed-form maps of `xpet.core.linear_map`, the simplest first."""
IDENTITY = "identity"
"""Name of the map that leaves features as they are."""
SOURCE_NAMES = ("demo", "xtd", "multi30k", "table")
"""`--data`: the data sets of `xpet.data`."""
EXPORT_OPTIONS = {
    "checkpoint": ("dtype", "shard_size", "pytorch_bin"), "peft": (), "opendelta": (), "onnx": (),
    "sentence-transformers": ("dtype", "shard_size"),
}  # fmt: skip
"""Export format of `xpet merge` -> the storage options that apply to it.

The first is written unless `--export` names another; each is a module of `xpet.jobs.merge.formats`."""
FORM_NAMES = tuple(EXPORT_OPTIONS)
"""Names of the export formats."""
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
"""Endings of files that hold texts in columns, for `xpet translate`."""
TRACKER_NAMES = (
    "tensorboard", "wandb", "mlflow", "aim", "comet_ml", "clearml", "dvclive", "swanlab", "trackio",
)  # fmt: skip
"""`--track`: the experiment trackers of `xpet.training.trackers`."""
