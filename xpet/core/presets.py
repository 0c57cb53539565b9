"""Named sets of defaults for `xpet align`: the values that neither the command line nor Python gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from xpet.core.errors import ConfigError, unknown
from xpet.core.routines import find_routine

ALL = "all"
"""As a number of shots: every picture there is."""


@dataclass(frozen=True)
class Preset:
    """Defaults by the names of the configurations' fields, which document them; these values are the default preset."""

    shots: int | str = 100
    val_shots: int | str | None = None
    losses: tuple[str, ...] = ("mse",)
    align_weights: tuple[float, ...] | None = None
    learning_rates: tuple[float, ...] = (5e-4,)
    batch_size: int = 20
    epochs: int = 40
    most_steps: int | None = 2000
    validate_every: int | None = None
    select: str = "loss"
    latest_tie_wins: bool = False
    include_start: bool = True
    dropout: str = "off"
    precision: str = "auto"

    def of(self, kind: type) -> dict[str, Any]:
        """The defaults, by name, of the fields that the configuration class `kind` has."""
        names = {field.name for field in fields(kind)}
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name in names}


DEFAULT = Preset()
PRESETS = {
    "default": DEFAULT,
    # The reference's few-shot search (paper, section 4): 15 runs per language and routine, in true float32.
    "paper": Preset(
        shots=50, val_shots=ALL, align_weights=(0.3, 0.1, 0.03, 0.01, 0.003), learning_rates=(5e-5, 1e-4, 2e-4),
        batch_size=5, epochs=50, most_steps=None, validate_every=5, select="r1", latest_tie_wins=True,
        include_start=False, dropout="model", precision="fp32",
    ),
}  # fmt: skip
"""`--preset` -> its defaults."""
OF_ROUTINE: dict[str, dict[str, Any]] = {
    # English lines are plentiful, and want large batches; the loss is free of the feature scale.
    "text": {"losses": ("mse-normalized",), "batch_size": 96, "most_steps": 400},
}
"""Routine -> what differs from the default preset when a command trains this routine alone."""


def preset_of(name: str, routines: Sequence[str]) -> Preset:
    """The defaults of a preset for routines trained together; raises ConfigError for an unknown preset or routine."""
    if name not in PRESETS:
        raise ConfigError(unknown("preset", name, list(PRESETS)))
    distinct = {find_routine(routine).name for routine in routines}
    changes = OF_ROUTINE.get(distinct.pop(), {}) if name == "default" and len(distinct) == 1 else {}
    return replace(PRESETS[name], **changes)
