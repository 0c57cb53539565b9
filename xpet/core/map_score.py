"""R@1 of the best closed-form map of a run's captions, and the sentence that says what the module gains over it.

The map is the yardstick of a module: it is fitted on the captions that the run had, in closed form, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from xpet.core.choices import IDENTITY

MARGIN = 2.0
"""Points of R@1 from which a difference counts on IMAGES test images: seeds change as much (README of `xpet align`)."""
IMAGES = 1000
"""Test images from which on MARGIN holds; on fewer it grows as chance does, with the root of their number."""
VERDICTS = ("more", "as much", "less")
"""What a module gains, compared with the map."""


@dataclass(frozen=True)
class MapScore:
    """The closed-form map that is best on validation captions, of all in `xpet.core.linear_map`.

    Attributes:
        name: shift, rotation or ridge; identity where none of them helps.
        strength: the strength of a ridge map; None for the others.
        pairs: the pairs of captions it was fitted on.
        r1: R@1 in percent on the test split, of the bare tower with the map behind it.
    """

    name: str
    strength: float | None
    pairs: int
    r1: float


def margin(images: int) -> float:
    """Points of R@1 from which a difference counts on so many test images: MARGIN, or more on fewer than IMAGES."""
    return MARGIN * max(1.0, (IMAGES / max(1, images)) ** 0.5)


def verdict(difference: float, images: int) -> str:
    """What a module gains whose R@1 on `images` test images is that of the map plus `difference` points."""
    more, as_much, less = VERDICTS
    return as_much if abs(difference) <= margin(images) else more if difference > 0 else less


def conclusion(aligned: Mapping[str, float], maps: Mapping[str, MapScore | None], images: int) -> str:
    """The sentence about modules with R@1 `aligned` by language and the maps beside them; empty without any map."""
    found: dict[str, list[str]] = {name: [] for name in VERDICTS}
    for language, score in maps.items():
        if score is not None:
            difference = aligned[language] - score.r1
            won = "no map helps" if score.name == IDENTITY else score.name
            found[verdict(difference, images)].append(f"{language} ({difference:+.1f}, {won})")
    parts = [f"{name} in {', '.join(languages)}" for name, languages in found.items() if languages]
    if not parts:
        return ""
    sentence = f"Against the best map of the same captions, which needs no training, the module gains {_listed(parts)}."
    return sentence + (" Where it gains less, --method linear-map is the better choice." if found["less"] else "")


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
