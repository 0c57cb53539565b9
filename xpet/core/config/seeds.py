"""Which numbers may be seeds: those that torch's generators take."""

from __future__ import annotations

MOST_SEED = 2**63
"""Below this every seed must be: torch and numpy both take it, whatever is derived from it."""
TORCH_SEEDS = range(-(2**63), 2**64)
"""What torch itself takes."""


def seed_problems(name: str, seed: int) -> list[str]:
    """What is wrong with a seed that xpet draws from; nothing or one text that begins with the name."""
    return [] if 0 <= seed < MOST_SEED else [f"{name}: expected a number from 0 to 2^63, found {seed}"]


def torch_seed_problems(name: str, seed: int) -> list[str]:
    """What is wrong with a seed that only torch sees; nothing or one text that begins with the name."""
    return [] if seed in TORCH_SEEDS else [f"{name}: expected a number of 64 bits, found {seed}"]
