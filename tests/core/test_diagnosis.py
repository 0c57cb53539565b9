"""The statistics against their definitions written as loops, and the bounds of the kinds."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xpet.core import diagnosis
from xpet.core.diagnosis import kind
from xpet.core.estimates import Estimate
from xpet.core.recovery import Recovery
from xpet.core.word_evidence import WordEvidence


def features(rows: int, dims: int, seed: int) -> Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(row: list[float]) -> list[float]:
    norm = math.sqrt(sum(x * x for x in row))
    return [x / norm for x in row]


def cosine(a: Tensor, b: Tensor) -> float:
    return sum(x * y for x, y in zip(unit(a.tolist()), unit(b.tolist()), strict=True))


def test_modality_gap_is_the_distance_of_the_centres():
    image, text = features(7, 5, 0), features(4, 5, 1) + 1
    centres = [[sum(column) / len(x) for column in zip(*map(unit, x.tolist()), strict=True)] for x in (image, text)]
    expected = math.dist(*centres)
    assert diagnosis.modality_gap(image, text) == pytest.approx(expected, abs=1e-12)
    assert diagnosis.modality_gap(image, 3 * image) == pytest.approx(0, abs=1e-12)
    opposite = torch.tensor([[2.0, 0.0]])
    assert diagnosis.modality_gap(opposite, -opposite) == 2.0


def test_anisotropy_is_the_mean_cosine_of_all_pairs():
    rows = features(9, 4, 2) + 0.5
    pairs = [cosine(rows[i], rows[j]) for i in range(9) for j in range(9) if i != j]
    assert diagnosis.anisotropy(rows) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert diagnosis.anisotropy(rows[:1].repeat(5, 1)) == pytest.approx(1)
    assert diagnosis.anisotropy(rows[:1]) == 1.0


def test_alignment_is_the_mean_cosine_of_the_rows():
    text, english = features(6, 4, 3), features(6, 4, 4)
    expected = sum(cosine(text[i], english[i]) for i in range(6)) / 6
    assert diagnosis.alignment(text, english) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("cells", [3, 10**6])
def test_hubness_is_the_skewness_of_the_k_occurrence(monkeypatch: pytest.MonkeyPatch, cells: int):
    monkeypatch.setattr(diagnosis, "CHUNK_CELLS", cells)
    query, candidates = features(40, 6, 5), features(25, 6, 6)
    counts = [0] * 25
    for row in query:
        near = sorted(range(25), key=lambda c, row=row: -cosine(row, candidates[c]))[:4]
        for c in near:
            counts[c] += 1
    mean = sum(counts) / 25
    second, third = (sum((n - mean) ** power for n in counts) / 25 for power in (2, 3))
    assert diagnosis.hubness(query, candidates, k=4) == pytest.approx(third / second**1.5, abs=1e-9)
    assert diagnosis.hubness(query, candidates, k=25) == 0.0
    assert diagnosis.hubness(query, candidates, k=99) == 0.0


def recovered(before: float, english: float, closed: float, high: float | None = None, pairs: int = 1000) -> Recovery:
    """A recovery of which only what `kind` looks at means something."""
    share = Estimate(closed, None if high is None else 2 * closed - high, high)
    r1 = {"before": before, "rotation": before, "ridge": before + closed * (english - before), "english": english}
    nothing = torch.zeros(pairs)
    return Recovery(r1, Estimate(0.0), share, 0.0, nothing, nothing, nothing, nothing)


WORDS, CHANCE, FAINT = WordEvidence(0.5, 0.001), WordEvidence(0.5, 0.02), WordEvidence(0.05, 0.001)


@pytest.mark.parametrize(("found", "evidence", "expected"), [
    (recovered(50, 54.9, 0.0), WORDS, "none"), (recovered(60, 50, 0.0), None, "none"),
    (recovered(40, 90, 0.75), WORDS, "geometric"), (recovered(40, 90, 0.74), WORDS, "mixed"),
    (recovered(40, 90, 0.74), CHANCE, "geometric"), (recovered(40, 90, 0.5), None, "geometric"),
    (recovered(40, 90, 0.49), CHANCE, "unclear"), (recovered(40, 90, 0.49), FAINT, "unclear"),
    (recovered(40, 90, 0.25), WORDS, "mixed"), (recovered(40, 90, 0.24), WORDS, "lexical"),
    (recovered(40, 90, 0.24, 0.51), WORDS, "mixed"), (recovered(40, 90, 0.24, 0.49), WORDS, "lexical"),
    (recovered(40, 90, -0.2), WORDS, "lexical"), (recovered(40, 90, -0.2), CHANCE, "unclear"),
    (recovered(2, 90, 0.05), CHANCE, "lexical"), (recovered(2, 90, 0.09), CHANCE, "unclear"),
    (recovered(40, 90, 0.9, pairs=79), WORDS, "unclear"), (recovered(40, 90, 0.9, pairs=80), WORDS, "geometric"),
    (None, None, "unclear"),
])  # fmt: skip
def test_bounds_of_the_kinds(found: Recovery | None, evidence: WordEvidence | None, expected: str):
    assert kind(found, evidence) == expected


@pytest.mark.parametrize("cells", [5, 10**6])
def test_worst_queries_by_expected_rank(monkeypatch: pytest.MonkeyPatch, cells: int):
    monkeypatch.setattr(diagnosis, "CHUNK_CELLS", cells)
    generator = torch.Generator().manual_seed(15)
    # Many ties, and every cosine exact (rows of norm 2), whatever the order of a sum.
    image = 2.0 * torch.randint(0, 2, (12, 4), generator=generator).double() - 1
    text = 2.0 * torch.randint(0, 2, (20, 4), generator=generator).double() - 1
    owner = torch.randint(0, 12, (20,), generator=generator)
    expected = []
    for t in range(20):
        scores = [round(cosine(text[t], image[i]), 9) for i in range(12)]
        own = scores[int(owner[t])]
        rank = sum(s > own for s in scores) + (sum(s == own for s in scores) + 1) / 2
        expected.append((rank, t, scores))
    worst = [row for row in sorted(expected, key=lambda row: (-row[0], row[1])) if row[0] > 1]
    assert len(worst) > 12
    found = diagnosis.worst_queries(image, text, owner, count=12)
    assert [(m.rank, m.text) for m in found] == [(rank, t) for rank, t, _ in worst[:12]]
    for missed, (_, _, scores) in zip(found, worst, strict=False):
        assert scores[missed.top] == max(scores)
    assert diagnosis.worst_queries(image, image[3:5].mean(dim=0, keepdim=True), owner[:1], count=0) == []


def test_a_caption_that_finds_its_image_is_not_missed():
    image = torch.eye(3)
    assert diagnosis.worst_queries(image, image, torch.arange(3)) == []
