"""What `xpet translate` needs."""

from __future__ import annotations

from dataclasses import dataclass

from xpet.core.config.parts import DataConfig

DIRECTIONS = {"to-pivot": ("to_pivot",), "from-pivot": ("from_pivot",), "both": ("to_pivot", "from_pivot")}
"""Values of `--direction`, each with the slots it makes."""


@dataclass(frozen=True)
class TranslateConfig:
    """Everything `xpet translate` needs for texts. `file` None is standard input, `out` None standard output.

    `column` and `into` are for tables and JSON lines: what is translated, and where the translation goes. `packages`
    is a folder, or `demo`; None is Argos' own. `reference` is a file the translation is scored against. `noise` is the
    share of words that are degraded after translation.
    """

    source: str
    target: str
    file: str | None = None
    out: str | None = None
    column: str | None = None
    into: str | None = None
    fast: bool = False
    device: str = "auto"
    packages: str | None = None
    reference: str | None = None
    reference_column: str | None = None
    noise: float | None = None
    noise_seed: int | None = None


@dataclass(frozen=True)
class TranslateDataConfig:
    """Everything `xpet translate --data` needs: which captions, into what, and where the translations go.

    `out` None is where `align` and `eval` look by themselves; `packages` None is the demo's for the demo, else Argos'.
    """

    languages: tuple[str, ...]
    data: DataConfig
    direction: str = "both"
    out: str | None = None
    fast: bool = False
    device: str = "auto"
    packages: str | None = None
    noise: float | None = None
    noise_seed: int | None = None
