"""Named sets of defaults for `xpet align`, as data: option name -> value; what the user gives explicitly wins."""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, Any] = {
    "shots": "100", "routine": "3", "loss": "mse", "align_weight": None, "lr": "5e-4", "seed": "1",
    "batch_size": 20, "epochs": 40, "most_steps": 2000, "validate_every": None, "select": "loss", "dropout": "off",
    "latest_tie_wins": False, "include_start": True,
}  # fmt: skip
PRESETS: dict[str, dict[str, Any]] = {
    "default": DEFAULTS,
    # SPEC section 6: the reference's few-shot search, 15 runs per language and routine.
    "paper": {
        "shots": "50", "routine": "3", "loss": "mse", "align_weight": "0.3,0.1,0.03,0.01,0.003",
        "lr": "5e-5,1e-4,2e-4", "seed": "1", "batch_size": 5, "epochs": 50, "most_steps": None, "validate_every": 5,
        "select": "r1", "dropout": "model", "latest_tie_wins": True, "include_start": False,
    },
}  # fmt: skip
ROUTINE_DEFAULTS: dict[str, dict[str, Any]] = {
    # Text without end wants large batches; the loss is free of the feature scale.
    "text": {"loss": "mse-normalized", "batch_size": 96, "most_steps": 400},
}
"""What a command takes in place of the default preset where it trains that routine alone."""
