"""Figures, intervals and comparisons against loops over the drawn images; coverage by simulation."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
import torch

from xpet.core.comparison import compare, hits
from xpet.core.disparity import disparity
from xpet.core.errors import DataError
from xpet.core.estimates import Estimate
from xpet.core.metrics import DirectionRanks, Retrieval, retrieval
from xpet.core.resampling import Resamples, holm, permutation_test
from xpet.core.statistics import estimate

IMAGES = 24
OWNERS = {"en": [*range(24), 3, 3], "de": [i for i in range(24) if i != 5], "ja": [0, 0, *range(24)]}


def found(noise: float, seed: int) -> dict[str, Retrieval]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(IMAGES, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    image[7] = image[8]
    results = {}
    for i, (lang, owner) in enumerate(OWNERS.items()):
        off = torch.randn(len(owner), 6, generator=generator, dtype=torch.float64)
        results[lang] = retrieval(image, image[owner] + (noise + i / 4) * off, torch.tensor(owner))
    return results


@lru_cache(maxsize=64)
def queries_of(search: int) -> list[list[list[float]]]:
    """Per image, its queries as [hit at 1, 5, 10, reciprocal (all in percent), expected rank]."""
    one = SEARCHES[search]
    ranks = one.ranks
    columns = [*(100 * ranks.hits(k) for k in (1, 5, 10)), 100 * ranks.reciprocal(), ranks.expected()]
    rows = torch.stack(columns, dim=1).tolist()
    per_image: list[list[list[float]]] = [[] for _ in range(IMAGES)]
    for query, image in zip(one.query.tolist(), one.image.tolist(), strict=True):
        per_image[image].append(rows[query])
    return per_image


SEARCHES: dict[int, DirectionRanks] = {}  # by id, kept alive so that ids stay theirs


def directions(result: Retrieval, drawn: Sequence[int]) -> list[list[float]]:
    """R@1, R@5, R@10, MRR and median rank of both directions and their mean, over the drawn images, by loops."""
    lines = []
    for search in result.directions:
        per_image = queries_of(id(SEARCHES.setdefault(id(search), search)))
        *columns, ranks = zip(*(row for i, times in enumerate(drawn) for row in per_image[i] * times), strict=True)
        lines.append([*(sum(column) / len(column) for column in columns), statistics.median(ranks)])
    return [*lines, [(a + b) / 2 for a, b in zip(*lines, strict=True)]]


def recall(results: dict[str, Retrieval], drawn: Sequence[int]) -> dict[str, float]:
    return {lang: directions(one, drawn)[2][0] for lang, one in results.items()}


def limits(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def is_estimate(one: Estimate | None, value: float, draws: Sequence[float], least: float | None = None) -> None:
    """A percentile interval; the basic one, not below `least`, where that is given."""
    assert one is not None
    low, high = limits(draws)
    if least is not None:
        low, high = max(least, 2 * value - high), max(least, 2 * value - low)
    assert (one.value, one.low, one.high) == pytest.approx((value, low, high), abs=1e-9)


@pytest.fixture(scope="module")
def drawn() -> list[list[int]]:
    return [row for part in Resamples(IMAGES, 40, 4).chunks() for row in part.long().tolist()]


def test_every_figure_and_interval_of_a_language(drawn: list[list[int]]) -> None:
    results = found(1.0, 1)
    languages = estimate(results, Resamples(IMAGES, 40, 4)).languages
    assert list(languages) == list(OWNERS)
    for lang, own in languages.items():
        whole, every = directions(results[lang], [1] * IMAGES), [directions(results[lang], d) for d in drawn]
        for i, line in enumerate((own.image_to_text, own.text_to_image, own.mean)):
            for j, figure in enumerate((line.r1, line.r5, line.r10, line.mrr, line.median_rank)):
                is_estimate(figure, whole[i][j], [one[i][j] for one in every])
        assert (own.images, own.captions) == (len(set(OWNERS[lang])), len(OWNERS[lang]))
        assert own.mean.r1.value == pytest.approx(results[lang].recall, abs=1e-9)
        assert own.mean.mrr.value == pytest.approx(results[lang].mrr, abs=1e-9)


def test_disparity_and_groups(drawn: list[list[int]]) -> None:
    results = found(1.0, 1)
    groups = {"both": ["ja", "de", "xx"], "none": ["xx"], "one": ["en"]}
    whole = estimate(results, Resamples(IMAGES, 40, 4), groups)
    once, every = recall(results, [1] * IMAGES), [recall(results, d) for d in drawn]
    expected, each = disparity(once), [disparity(one) for one in every]
    assert (whole.spread.worst, whole.spread.best) == (expected.worst, expected.best)
    is_estimate(whole.spread.mean, expected.mean, [d.mean for d in each])
    is_estimate(whole.spread.range, expected.range, [d.range for d in each], least=0)
    is_estimate(whole.spread.std, expected.std, [d.std for d in each], least=0)
    assert expected.mean_gap is not None
    is_estimate(whole.spread.mean_gap, expected.mean_gap, [d.mean_gap for d in each if d.mean_gap is not None])
    assert list(whole.groups) == ["both", "one"]
    both = whole.groups["both"]
    assert both.languages == ("de", "ja")
    is_estimate(both.range, abs(once["de"] - once["ja"]), [abs(one["de"] - one["ja"]) for one in every], least=0)
    is_estimate(both.mean_gap, expected.mean_gap, [one["en"] - (one["de"] + one["ja"]) / 2 for one in every])
    assert whole.groups["one"].mean_gap is None


def test_no_intervals_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xpet.core.resampling.interval", lambda *_: pytest.fail("computed"))
    whole = estimate({"de": found(1.0, 1)["de"]})
    assert whole.spread.range == Estimate(0.0)
    assert whole.spread.mean_gap is None
    assert whole.languages["de"].mean.r5.low is None


def test_several_seeds(drawn: list[list[int]]) -> None:
    seeds = {1: found(0.8, 1)["de"], 2: found(0.8, 2)["de"], 5: found(1.5, 3)["de"]}
    other = found(1.0, 1)
    other = {"en": other["en"], "ja": other["ja"]}
    whole = estimate({**other, "de": seeds}, Resamples(IMAGES, 40, 4))
    values = [one.recall for one in seeds.values()]
    assert whole.languages["de"].seeds == 3
    assert whole.languages["de"].std == pytest.approx(statistics.pstdev(values), abs=1e-9)
    every = [[directions(one, d)[2][0] for one in seeds.values()] for d in drawn]
    is_estimate(whole.languages["de"].mean.r1, statistics.fmean(values), [statistics.fmean(line) for line in every])

    def extent(draw: Sequence[int], line: Sequence[float]) -> float:
        return statistics.fmean(disparity({**recall(other, draw), "de": value}).range for value in line)

    ranges = [extent(d, line) for d, line in zip(drawn, every, strict=True)]
    is_estimate(whole.spread.range, extent([1] * IMAGES, values), ranges, least=0)
    lacking = estimate({"de": seeds, "ja": {1: other["ja"], 2: other["en"]}}).spread
    ja = [other["ja"].recall, other["en"].recall]
    expected = statistics.fmean(abs(a - b) for a, b in zip(values, [*ja, statistics.fmean(ja)], strict=True))
    assert lacking.range.value == pytest.approx(expected, abs=1e-9)


def test_comparison_of_two_systems(drawn: list[list[int]]) -> None:
    before, after = found(1.4, 1), found(0.7, 2)
    mine, theirs = ({lang: hits(one) for lang, one in results.items()} for results in (after, before))
    moved = compare(theirs, mine, Resamples(IMAGES, 40, 4), permutations=500, seed=9)
    pairs = [(recall(before, d), recall(after, d)) for d in ([1] * IMAGES, *drawn)]
    for lang in OWNERS:
        (value, *each) = [b[lang] - a[lang] for a, b in pairs]
        is_estimate(moved.languages[lang].r1, value, each)
    for name, least in (("mean", None), ("range", -math.inf), ("std", -math.inf), ("mean_gap", None)):
        (value, *each) = [getattr(disparity(b), name) - getattr(disparity(a), name) for a, b in pairs]
        is_estimate(getattr(moved, name), value, each, least)
    shares = torch.zeros(IMAGES, 3).double()  # what each image adds to the difference
    for column, lang in enumerate(OWNERS):
        for sign, results in ((-1, before), (1, after)):
            for search in results[lang].directions:
                shares[:, column] += sign * search.per_image(search.ranks.hits(1)) / search.per_image().sum() / 2
    p = dict(zip(OWNERS, permutation_test(shares, 500, seed=9).tolist(), strict=True))
    assert {lang: one.p for lang, one in moved.languages.items()} == p
    assert {lang: one.p_holm for lang, one in moved.languages.items()} == holm(p)


def test_comparison_with_itself_or_of_seeds() -> None:
    one, other = found(1.0, 1), found(1.0, 2)
    mine = {"de": hits(one["de"])}
    same = compare(mine, mine, Resamples(IMAGES, 50), permutations=99)
    assert same.languages["de"].r1 == Estimate(0.0, 0.0, 0.0)
    assert same.languages["de"].p == same.languages["de"].p_holm == 1.0
    assert same.mean_gap is None
    both = compare(mine, {"de": hits({1: one["de"], 2: other["de"]})}, permutations=0).languages["de"]
    assert both.r1.value == pytest.approx((other["de"].recall - one["de"].recall) / 2, abs=1e-9)
    assert (both.r1.low, both.p, both.p_holm) == (None, None, None)


def test_results_that_do_not_fit_together() -> None:
    one = found(1.0, 1)
    more = retrieval(torch.eye(30), torch.eye(30))
    for expected, call in {
        "expected R@1 of at least one language, found none": lambda: estimate({}),
        "expected results and resamples of the same images, found 24 and 30": lambda: estimate({**one, "xx": more}),
        "expected results and resamples of the same images, found 24 and 25": lambda: estimate(one, Resamples(25, 5)),
        "de: expected both systems on the same captions per image, found others": lambda: compare(
            {"de": hits(one["de"])}, {"de": hits(one["en"])}
        ),
    }.items():
        with pytest.raises(DataError) as error:
            call()
        assert str(error.value) == expected
