"""What maps close of a gap, against plain loops, and on features of which is known what is wrong."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xpet.core import linear_map
from xpet.core import recovery as module
from xpet.core.errors import DataError
from xpet.core.metrics import retrieval
from xpet.core.recovery import mapped, recovery


def features(rows: int, dims: int, seed: int) -> Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(dims: int, seed: int) -> Tensor:
    return torch.linalg.qr(features(dims, dims, seed))[0]


def world(rows: int = 400, dims: int = 32, words: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Images and English as bags of words: (words of each row, image [rows, d], English [rows, d])."""
    bags = (features(rows, words, 10) > 1.3).double() + 0.01
    english = bags @ features(words, dims, 11)
    return bags, english + 2.0 * features(rows, dims, 12), english


def test_rotations_mend_what_is_turned_and_only_ridge_what_is_distorted() -> None:
    _, image, english = world()
    rows = torch.arange(len(image))
    apart = recovery(image, english @ turned(32, 13) + 8 * features(1, 32, 14), english, rows)
    assert apart.rotation.value > 0.95
    assert (apart.pairs, apart.word_recognition) == (400, 100.0)
    assert apart.rest < 0.05 * apart.gap
    distorted = recovery(image, english @ turned(32, 13) @ torch.logspace(-1.5, 0.5, 32).double().diag(), english, rows)
    assert distorted.ridge.value > 0.9 > distorted.rotation.value + 0.2
    assert (distorted.best, distorted.closed) == ("ridge", distorted.ridge)


def test_no_map_mends_words_that_are_not_known() -> None:
    bags, image, english = world()
    known = bags.clone()
    known[:, 20:] = 0.0
    found = recovery(image, known @ features(60, 32, 11) + 0.1, english, torch.arange(len(image)))
    assert found.closed.value < 0.25
    assert found.rest > 30
    assert found.word_recognition < 70


def oracle(image: Tensor, text: Tensor, english: Tensor, owner: Tensor, seed: int) -> dict[str, list[float]]:
    """R@1 of each half by search, by loops over the halves; a ridge's strength is chosen on a quarter of the other."""
    pictures = torch.unique(owner)
    order = pictures[torch.randperm(len(pictures), generator=torch.Generator().manual_seed(seed))]
    first, second = order[: len(order) // 2].tolist(), order[len(order) // 2 :].tolist()

    def rows(part: list[int]) -> list[int]:
        return [row for row in range(len(owner)) if int(owner[row]) in part]

    def searched(part: list[int], texts: Tensor) -> tuple[float, float]:
        place = torch.tensor([sorted(part).index(int(owner[row])) for row in rows(part)])
        result = retrieval(image[sorted(part)], texts, place)
        return result.recall, result.mrr

    found: dict[str, list[float]] = {name: [] for name in ("before", "rotation", "ridge", "english")}
    for fit, test in ((first, second), (second, first)):
        quarter = len(fit) // 4
        held, kept = rows(fit[:quarter]), rows(fit[quarter:])
        mrr = {None: searched(fit[:quarter], text[held])[1]}
        for strength in linear_map.STRENGTHS:
            moved = linear_map.ridge(text[kept], english[kept], strength)(text[held])
            mrr[strength] = searched(fit[:quarter], moved)[1]  # type: ignore[index]
        chosen = max(mrr, key=lambda each: mrr[each])  # type: ignore[arg-type, return-value]
        own, used = rows(test), rows(fit)
        texts = {
            "before": text[own], "english": english[own],
            "rotation": linear_map.rotation(text[used], english[used])(text[own]),
            "ridge": text[own] if chosen is None else linear_map.ridge(text[used], english[used], chosen)(text[own]),
        }  # fmt: skip
        for name, each in texts.items():
            found[name].append(searched(test, each)[0])
    return found


def test_recovery_counts_what_it_says() -> None:
    """Two captions each for images 1 to 40; 0 has none, as have 41 and later."""
    _, image, english = world(rows=101)
    owner = torch.arange(80) // 2 + 1
    text, target = english[:80] @ turned(32, 13) + 0.3 * features(80, 32, 15), english[:80]
    found = recovery(image, text, target, owner, seed=3)
    for name, halves in oracle(image, text, target, owner, seed=3).items():
        assert found.r1[name] == pytest.approx(sum(halves) / 2, abs=1e-9)
    gap = found.r1["english"] - found.r1["before"]
    assert found.gap == pytest.approx(gap)
    assert found.rotation.value == pytest.approx((found.r1["rotation"] - found.r1["before"]) / gap)
    assert found.ridge.value == pytest.approx((found.r1["ridge"] - found.r1["before"]) / gap)
    assert (found.rotation.low, found.ridge.high) == (None, None)
    assert sorted(found.rows.tolist()) == list(range(80))
    assert len(found.shortfall) == 40
    assert 100 * found.shortfall.mean() == pytest.approx(found.rest)
    of_picture = {
        int(picture): {int(owner[row]) for row in found.rows[found.picture == picture]} for picture in range(40)
    }
    assert all(len(images) == 1 for images in of_picture.values())
    assert set.union(*of_picture.values()) == set(range(1, 41))


def test_english_itself_has_no_gap() -> None:
    _, image, english = world(rows=40)
    found = recovery(image, english, english, torch.arange(40), resamples=20)
    assert (found.gap, found.rest, found.closed.value, found.closed.high) == (0.0, 0.0, 0.0, 0.0)
    assert (found.best, found.word_recognition) == ("before", 100.0)
    assert found.deficit.abs().max() < 1e-9


def test_intervals_are_those_of_drawing_the_pictures_again() -> None:
    bags, image, english = world(rows=200)
    text = (bags * (torch.arange(60) > 15)) @ features(60, 32, 11) @ turned(32, 13)
    found = recovery(image, text, english, torch.arange(200), resamples=400)
    again = recovery(image, text, english, torch.arange(200), resamples=400)
    assert found.ridge == again.ridge
    for share in (found.rotation, found.ridge):
        assert share.low is not None
        assert share.high is not None
        assert share.low < share.value < share.high
    few = recovery(image[:60], text[:60], english[:60], torch.arange(60), resamples=400).ridge
    assert few.high - few.low > found.ridge.high - found.ridge.low  # type: ignore[operator]


def test_recovery_draws_pictures_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    _, image, english = world(rows=60)
    owner = torch.arange(60)
    assert recovery(image, english, english, owner).pairs == 60
    monkeypatch.setattr(module, "MOST_IMAGES", 20)
    found = recovery(image, english, english, owner, seed=3)
    drawn = torch.randperm(60, generator=torch.Generator().manual_seed(3))[:20]
    expected = [retrieval(image[part], english[part]).recall for part in (drawn[:10], drawn[10:])]
    assert found.pairs == 20
    assert found.r1["before"] == pytest.approx(sum(expected) / 2, abs=1e-9)


def test_recovery_needs_two_pictures_and_features_with_a_direction() -> None:
    rows = features(3, 4, 0)
    with pytest.raises(DataError, match="^expected captions of at least 2 pictures, found 1$"):
        recovery(rows, rows, rows, torch.zeros(3, dtype=torch.long))
    with pytest.raises(DataError, match="expected finite, non-zero text features, found 1 of"):
        recovery(rows, torch.cat([rows[:2], torch.zeros(1, 4)]), rows, torch.arange(3))
    assert recovery(rows[:2], rows[:2], rows[:2], torch.arange(2)).pairs == 2


def test_the_map_of_few_shots_moves_each_half_by_captions_of_the_other() -> None:
    _, image, english = world()
    rows = torch.arange(len(image))
    apart = english @ turned(32, 13) + 8 * features(1, 32, 14)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    moved = apart.clone()
    for fit, test in ((order[:200], order[200:]), (order[200:], order[:200])):
        shots, choosing = fit[:50].sort().values, fit[50:100].sort().values
        chosen = linear_map.best(
            linear_map.candidates(apart[shots], english[shots]),
            lambda each, choosing=choosing: retrieval(image[choosing], each(apart[choosing])).mrr,  # type: ignore[misc]
        )
        moved[test] = chosen.map(apart[test])
    assert mapped(image, apart, english, rows, 50) == pytest.approx(retrieval(image, moved).recall, abs=1e-9)
    assert mapped(image, apart, english, rows, 10_000) > retrieval(image, apart).recall + 20
    assert mapped(image, english, english, rows, 50) >= retrieval(image, english).recall - 10
