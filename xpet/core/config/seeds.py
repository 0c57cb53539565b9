"""Which numbers may be seeds: those that torch's generators take."""

from __future__ import annotations

MOST_SEED = 2**63
"""Seeds must be below this: torch and numpy take them, and whatever is derived from them."""
TORCH_SEEDS = range(-(2**63), 2**64)
"""The seeds that torch itself takes."""


def seed_problems(name: str, seed: int) -> list[str]:
    """What is wrong with a seed that xpet derives other seeds from: no text, or one that begins with the name."""
    return [] if 0 <= seed < MOST_SEED else [f"{name}: expected a number from 0 to 2^63, found {seed}"]


def torch_seed_problems(name: str, seed: int) -> list[str]:
    """What is wrong with a seed that only torch sees: no text, or one that begins with the name."""
    return [] if seed in TORCH_SEEDS else [f"{name}: expected a number of 64 bits, found {seed}"]
