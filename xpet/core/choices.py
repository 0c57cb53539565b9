"""Names the command line offers, importable without torch; a test holds them equal to the tables they stand for."""

from __future__ import annotations

import math

from xpet.core.errors import ConfigError, unknown

LOSS_NAMES = ("mse", "mse-normalized", "contrastive", "contrastive-image", "cosine")
DEFAULT_WEIGHTS = {"mse": 0.1, "mse-normalized": 1.0, "contrastive": 0.1, "contrastive-image": 0.1, "cosine": 1.0}
"""Weight of an alignment loss unless given: the paper's range for its own losses, 1 for those free of the scale."""
PICTURE_LOSSES = ("contrastive-image",)
"""Losses that look at image features."""
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


def loss_terms(name: str) -> dict[str, float]:
    """Loss -> factor, of one loss, of a sum `mse-normalized+cosine`, or with factors `mse-normalized+0.1*contrastive`.

    Raises ConfigError for an unknown loss, a factor that is none, and a loss that occurs twice.
    """
    terms: dict[str, float] = {}
    for part in name.split("+"):
        factor, times, loss = part.strip().rpartition("*")
        loss = loss.strip()
        if loss not in LOSS_NAMES:
            raise ConfigError(unknown("loss", loss, LOSS_NAMES))
        if loss in terms:
            raise ConfigError(f"loss '{name}': expected every loss once, found {loss} twice")
        terms[loss] = _factor(factor, name) if times else 1.0
    return terms


def default_weight(name: str) -> float:
    """The weight of an alignment loss unless one is given; a sum has its factors and weighs 1."""
    terms = loss_terms(name)
    return 1.0 if len(terms) > 1 else DEFAULT_WEIGHTS[next(iter(terms))]


def _factor(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ConfigError(f"loss '{name}': expected a positive factor before *, found '{text.strip()}'")
    return value
