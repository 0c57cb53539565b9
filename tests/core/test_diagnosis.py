"""The statistics against their definitions written as loops, and what tells geometric from lexical."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xpet.core import diagnosis
from xpet.core.diagnosis import Recovery, kind, procrustes, recovery
from xpet.core.errors import DataError
from xpet.core.metrics import retrieval


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


def rotation(dims: int, seed: int) -> Tensor:
    return torch.linalg.qr(features(dims, dims, seed))[0]


def test_a_procrustes_undoes_a_rotation():
    target = features(400, 8, 7)
    source = target @ rotation(8, 8)
    moved = procrustes(source[:200], target[:200])(source[200:])
    expected = torch.nn.functional.normalize(target[200:], dim=1)
    assert torch.nn.functional.cosine_similarity(moved, expected).min() > 0.99


def test_few_pairs_leave_unknown_directions_as_they_are():
    source = torch.zeros(6, 50, dtype=torch.float64)
    source[:, :3] = features(6, 3, 9)
    axis = torch.eye(50, dtype=torch.float64)[40:41]
    here = procrustes(source, source)(axis) - procrustes(source, source)(-axis)  # without the shift
    torch.testing.assert_close(here, 2 * axis)


def world(rows: int = 400, dims: int = 32, words: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Images and English as bags of words: (words of each row, image [rows, d], English [rows, d])."""
    bags = (features(rows, words, 10) > 1.3).double() + 0.01
    english = bags @ features(words, dims, 11)
    return bags, english + 2.0 * features(rows, dims, 12), english


def test_a_displaced_language_is_geometric_and_one_without_words_lexical():
    bags, image, english = world()
    owner = torch.arange(len(image))
    displaced = english @ rotation(32, 13) + 8 * features(1, 32, 14)
    found = recovery(image, displaced, english, owner)
    assert (kind(found), found.pairs) == ("geometric", 400)
    assert found.word_recognition > 95
    known = bags.clone()
    known[:, 20:] = 0  # two thirds of its words mean nothing
    found = recovery(image, known @ features(60, 32, 11) + 0.1, english, owner)
    assert kind(found) == "lexical"
    assert found.word_recognition < 70
    assert kind(recovery(image, english, english, owner)) == "none"
    assert kind(recovery(image[:79], displaced[:79], english[:79], owner[:79])) == "unclear"


def test_recovery_counts_what_it_says():
    """Without any map to fit (English itself) everything is plain retrieval on the two halves."""
    _, image, english = world(rows=41)
    owner = torch.arange(40) // 2 + 1  # two captions each for images 1 to 20; 0 has none, as have 21 and later
    text = english[:40]
    found = recovery(image, text, text, owner, seed=3)
    images = torch.arange(1, 21)[torch.randperm(20, generator=torch.Generator().manual_seed(3))]
    expected = 0.0
    for part in (images[:10], images[10:]):
        rows = [row for row in range(40) if int(owner[row]) in part.tolist()]
        place = torch.tensor([part.tolist().index(int(owner[row])) for row in rows])
        expected += retrieval(image[part], text[rows], place).recall / 2
    assert found.before == pytest.approx(expected, abs=1e-9)
    assert found.english == pytest.approx(expected, abs=1e-9)
    assert (found.word_recognition, found.gap, found.closed) == (100.0, 0.0, 0.0)


def test_recovery_draws_pictures_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch):
    _, image, english = world(rows=60)
    owner = torch.arange(60)
    assert recovery(image, english, english, owner).pairs == 60
    monkeypatch.setattr(diagnosis, "MOST_IMAGES", 20)
    found = recovery(image, english, english, owner, seed=3)
    drawn = torch.randperm(60, generator=torch.Generator().manual_seed(3))[:20]
    expected = [retrieval(image[part], english[part]).recall for part in (drawn[:10], drawn[10:])]
    assert found.pairs == 20
    assert found.before == pytest.approx(sum(expected) / 2, abs=1e-9)


def test_recovery_needs_two_pictures_and_features_with_a_direction():
    rows = features(3, 4, 0)
    with pytest.raises(DataError, match="^expected captions of at least 2 pictures, found 1$"):
        recovery(rows, rows, rows, torch.zeros(3, dtype=torch.long))
    with pytest.raises(DataError, match="expected finite, non-zero text features, found 1 of"):
        recovery(rows, torch.cat([rows[:2], torch.zeros(1, 4)]), rows, torch.arange(3))


@pytest.mark.parametrize(("english", "after", "pairs", "expected"), [
    (54.9, 54.9, 1000, "none"), (90, 82, 1000, "geometric"), (90, 81.9, 1000, "unclear"), (90, 74.1, 1000, "unclear"),
    (90, 74, 1000, "lexical"), (90, 40, 80, "lexical"), (90, 90, 79, "unclear"), (40, 30, 1000, "none"),
])  # fmt: skip
def test_bounds_of_the_kinds(english: float, after: float, pairs: int, expected: str):
    assert kind(Recovery(pairs, 0.0, 50.0, after, english)) == expected


def test_without_english_captions_nothing_is_clear():
    assert kind(None) == "unclear"


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
