"""The sentence that compares modules with maps, and the margin from which a difference counts."""

from __future__ import annotations

import pytest

from xpet.core import linear_map
from xpet.core.choices import IDENTITY, MAP_NAMES
from xpet.core.map_score import MapScore, conclusion, margin, verdict


def score(r1: float, name: str = "ridge") -> MapScore:
    return MapScore(name, 0.1 if name == "ridge" else None, 100, r1)


@pytest.mark.parametrize(("images", "expected"), [(1000, 2.0), (5000, 2.0), (250, 4.0), (40, 10.0), (0, 63.2456)])
def test_the_margin_grows_on_few_images_as_chance_does(images: int, expected: float) -> None:
    assert margin(images) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("difference", "images", "expected"), [
    (2.1, 1000, "more"), (2.0, 1000, "as much"), (-2.0, 1000, "as much"), (-2.1, 1000, "less"),
    (3.9, 250, "as much"), (4.1, 250, "more"), (-4.1, 250, "less"),
])  # fmt: skip
def test_what_a_module_gains(difference: float, images: int, expected: str) -> None:
    assert verdict(difference, images) == expected


def test_the_sentence_names_every_language_with_what_won() -> None:
    aligned = {"cs": 57.2, "fr": 59.0, "de": 80.3, "ja": 50.0}
    maps = {"cs": score(29.8), "fr": score(58.7, IDENTITY), "de": score(88.4, "rotation"), "ja": None}
    assert conclusion(aligned, maps, 1000) == (
        "Against the best map of the same captions, which needs no training, the module gains more in cs (+27.4, "
        "ridge), as much in fr (+0.3, no map helps) and less in de (-8.1, rotation). Where it gains less, --method "
        "linear-map is the better choice."
    )
    assert conclusion(aligned, {"cs": score(29.8), "fr": score(50.0, "shift")}, 1000) == (
        "Against the best map of the same captions, which needs no training, the module gains more in cs (+27.4, "
        "ridge), fr (+9.0, shift)."
    )
    assert conclusion(aligned, {"ja": None}, 1000) == conclusion(aligned, {}, 1000) == ""


def test_names_are_those_of_the_maps() -> None:
    assert tuple(linear_map.MAPS) == MAP_NAMES
