"""Retrieval against full enumeration, with exact ties; disparity against hand-computed numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import naive
from xpet.core import ranking
from xpet.core.errors import DataError
from xpet.core.metrics import Retrieval, retrieval
from xpet.core.ranking import Ranks

FIELDS = ("image_hits", "text_hits", "image_reciprocal", "text_reciprocal")


def draw(rows: int, seed: int, dims: int = 5) -> Tensor:
    return torch.randn(rows, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def agrees_with_loops(image: Tensor, text: Tensor, owner: Sequence[int]) -> Retrieval:
    found = retrieval(image, text, torch.tensor(owner))
    per_image, per_text = naive.recall_at_1(image.tolist(), text.tolist(), list(owner))
    tolerance = 1e-12 if image.dtype == torch.float64 else 1e-6
    assert found.image_hits.tolist() == pytest.approx(per_image, abs=tolerance)
    assert found.text_hits.tolist() == pytest.approx(per_text, abs=tolerance)
    expected = 50 * (sum(per_image) / len(per_image) + sum(per_text) / len(per_text))
    assert found.recall == pytest.approx(expected, abs=100 * tolerance)
    return found


def reciprocal_by_enumeration(scores: list[float], right: set[int]) -> float:
    """Mean of 1 / rank of the first right candidate over every order that sorts the scores downwards."""
    values = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            values.append(1 / next(rank for rank, c in enumerate(order, start=1) if c in right))
    return sum(values) / len(values)


def first_ranks(scores: list[float], right: set[int]) -> list[int]:
    """Rank of the first right candidate in every order that sorts the scores downwards."""
    return [
        next(rank for rank, c in enumerate(order, start=1) if c in right)
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]


def agrees_with_enumeration(ranks: Ranks, rows: list[list[float]], right: list[set[int]]) -> None:
    for i, (scores, own) in enumerate(zip(rows, right, strict=True)):
        every = first_ranks(scores, own)
        assert float(ranks.expected()[i]) == pytest.approx(sum(every) / len(every), abs=1e-12)
        for k in (1, 2, 3, 5, 10):
            share = sum(rank <= k for rank in every) / len(every)
            assert float(ranks.hits(k)[i]) == pytest.approx(share, abs=1e-12)


def cosines(image: Tensor, text: Tensor) -> list[list[float]]:
    table = torch.nn.functional.normalize(image, dim=1) @ torch.nn.functional.normalize(text, dim=1).T
    return [[round(v, 9) for v in row] for row in table.tolist()]


@pytest.mark.parametrize("seed", range(5))
def test_random_features(seed: int) -> None:
    image = draw(25, seed)
    found = agrees_with_loops(image, image + 0.8 * draw(25, seed + 100), range(25))
    assert 0 < found.recall < 100
    default = retrieval(image, image + 0.8 * draw(25, seed + 100))
    assert all(torch.equal(getattr(found, f), getattr(default, f)) for f in FIELDS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("image_rows", "text_rows"), [
    ([0, 1, 2, 3, 4, 5], [0, 0, 2, 3, 3, 3]),
    ([0, 0, 2, 3, 3, 3], [0, 1, 2, 3, 4, 5]),
    ([0, 0, 0, 3, 3, 5], [0, 1, 1, 3, 3, 3]),
    ([0] * 6, [0] * 6),
])  # fmt: skip
def test_exact_ties_on_either_side(image_rows: list[int], text_rows: list[int], dtype: torch.dtype) -> None:
    base = draw(6, 1, dims=19).to(dtype)
    agrees_with_loops(base[image_rows], base[text_rows], range(6))


def test_ties_are_worth_their_expected_value() -> None:
    same = retrieval(torch.ones(4, 3), torch.ones(4, 3))
    assert same.text_hits.tolist() == same.image_hits.tolist() == [0.25] * 4
    assert same.recall == pytest.approx(25.0)
    assert same.mrr == pytest.approx(100 * (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4, abs=1e-4)
    found = retrieval(torch.eye(3), torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 0, 1]]))
    assert found.image_hits.tolist() == pytest.approx([1 / 2, 1 / 3, 1])  # all three texts have cosine 0 with image 1
    assert found.text_hits.tolist() == [1.0, 0.0, 1.0]
    assert found.recall == pytest.approx(50 * ((1 / 2 + 1 / 3 + 1) / 3 + 2 / 3), abs=1e-4)


@pytest.mark.parametrize("cells", [10**9, 10_000, 331])
def test_duplicates_tie_exactly_wherever_they_stand(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "CHUNK_CELLS", cells)
    base = draw(165, 2, dims=37).float()
    place = torch.randperm(330, generator=torch.Generator().manual_seed(0))
    twice = base.repeat(2, 1)[place]
    found = retrieval(twice, twice)
    assert set(found.text_hits.tolist()) == set(found.image_hits.tolist()) == {0.5}
    assert set(found.text_reciprocal.tolist()) == {0.75}


@pytest.mark.parametrize("seed", range(4))
def test_several_captions_per_image_and_images_without(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    owner = torch.randint(0, 8, (30,), generator=generator)
    owner[owner == 3] = 4  # image 3 has no caption: a candidate, but no query
    image = draw(8, seed)
    text = image[owner] + 0.9 * draw(30, seed + 50)
    text[7], text[9] = text[8], image[3]
    found = agrees_with_loops(image, text, owner.tolist())
    assert len(found.image_hits) == len(set(owner.tolist())) <= 7
    assert found.text_hits[9] == 0


def test_any_caption_on_top_finds_the_image() -> None:
    image = torch.eye(2)
    text = torch.tensor([[1.0, 0.2], [0.1, 1.0], [0.0, 1.0]])
    found = retrieval(image, text, torch.tensor([0, 0, 1]))
    assert found.image_hits.tolist() == [1.0, 1.0]
    assert found.text_hits.tolist() == [1.0, 0.0, 1.0]
    assert found.recall == pytest.approx(50 * (1 + 2 / 3), abs=1e-4)
    assert found.mrr == pytest.approx(50 * (1 + (1 + 0.5 + 1) / 3), abs=1e-4)


def test_scale_of_features_does_not_matter() -> None:
    image, text = draw(12, 0), draw(12, 1)
    scale = 10.0 ** torch.linspace(-30, 30, 12, dtype=torch.float64).unsqueeze(1)
    scaled, plain = retrieval(image * scale, text * scale.flip(0)), retrieval(image, text)
    assert all(torch.equal(getattr(scaled, f), getattr(plain, f)) for f in FIELDS)


def test_order_of_rows_does_not_matter() -> None:
    image, owner = draw(10, 3), torch.tensor([0, 0, 1, 2, 2, 2, 4, 5, 6, 7, 8, 9, 9])
    image[5] = image[6]
    text = image[owner] + 0.7 * draw(13, 4)
    text[2] = text[3]
    plain = retrieval(image, text, owner)
    by_image = dict(zip(sorted(set(owner.tolist())), plain.image_hits.tolist(), strict=True))
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        rows, images = torch.randperm(13, generator=generator), torch.randperm(10, generator=generator)
        back = torch.argsort(images)
        moved = retrieval(image[images], text[rows], back[owner[rows]])
        assert torch.equal(moved.text_hits, plain.text_hits[rows])
        assert torch.allclose(moved.text_reciprocal, plain.text_reciprocal[rows], atol=1e-12)
        queries = [int(i) for i in images if int(i) in by_image]
        assert moved.image_hits.tolist() == [by_image[i] for i in queries]
        assert (moved.recall, moved.mrr) == pytest.approx((plain.recall, plain.mrr), abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_reciprocal_ranks_against_every_order_of_ties(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image, text = draw(4, seed)[torch.randint(0, 4, (4,), generator=generator)], draw(6, seed + 20)
    text = text[torch.randint(0, 3, (6,), generator=generator)]
    owner = torch.randint(0, 4, (6,), generator=generator).tolist()
    found = retrieval(image, text, torch.tensor(owner))
    table = cosines(image, text)
    by_text = [reciprocal_by_enumeration([row[t] for row in table], {owner[t]}) for t in range(6)]
    queries = sorted(set(owner))
    by_image = [reciprocal_by_enumeration(table[i], {t for t in range(6) if owner[t] == i}) for i in queries]
    assert found.text_reciprocal.tolist() == pytest.approx(by_text, abs=1e-12)
    assert found.image_reciprocal.tolist() == pytest.approx(by_image, abs=1e-12)
    mean = 50 * (sum(by_text) / 6 + sum(by_image) / len(queries))
    assert found.mrr == pytest.approx(mean, abs=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_hits_and_expected_ranks_against_every_order_of_ties(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = draw(4, seed)[torch.randint(0, 3, (4,), generator=generator)]
    text = draw(6, seed + 20)[torch.randint(0, 3, (6,), generator=generator)]
    owner = torch.randint(0, 4, (6,), generator=generator).tolist()
    by_image, by_text = retrieval(image, text, torch.tensor(owner)).directions
    table = cosines(image, text)
    queries = sorted(set(owner))
    agrees_with_enumeration(by_text.ranks, [[row[t] for row in table] for t in range(6)], [{i} for i in owner])
    own = [{t for t in range(6) if owner[t] == i} for i in queries]
    agrees_with_enumeration(by_image.ranks, [table[i] for i in queries], own)


@pytest.mark.parametrize("seed", range(6))
def test_several_images_per_caption(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image, text = draw(5, seed), draw(5, seed + 30)
    image[1] = image[2]
    pairs = torch.randint(0, 5, (7, 2), generator=generator)
    known = {(t, i) for t, i in pairs.tolist()}
    found = retrieval(image, text, pairs=torch.cat([pairs, pairs[:2]]))  # a pair given twice counts once
    by_image, by_text = found.directions
    texts, images = sorted({t for t, _ in known}), sorted({i for _, i in known})
    table = cosines(image, text)
    right = [{i for t, i in known if t == text} for text in texts]
    agrees_with_enumeration(by_text.ranks, [[row[t] for row in table] for t in texts], right)
    agrees_with_enumeration(
        by_image.ranks, [table[i] for i in images], [{t for t, j in known if j == i} for i in images]
    )
    assert by_image.image.tolist() == images
    shared = torch.zeros(5).double()
    for own in right:
        for i in own:
            shared[i] += 1 / len(own)
    assert by_text.per_image().tolist() == pytest.approx(shared.tolist(), abs=1e-12)
    hits = by_text.per_image(by_text.ranks.hits(1))
    assert float(hits.sum()) / len(texts) == pytest.approx(float(found.text_hits.mean()), abs=1e-12)


def test_pairs_add_to_owners() -> None:
    image, text, owner = draw(6, 1), draw(6, 2), torch.tensor([0, 1, 2, 3, 4, 0])
    pairs = torch.tensor([[0, 3], [5, 5]])
    whole = torch.cat([torch.stack([torch.arange(6), owner], dim=1), pairs])
    added, alone = retrieval(image, text, owner, pairs), retrieval(image, text, pairs=whole)
    assert all(torch.equal(getattr(added, f), getattr(alone, f)) for f in FIELDS)
    assert not torch.equal(added.text_reciprocal, retrieval(image, text, owner).text_reciprocal)


def test_pairs_that_do_not_fit() -> None:
    image, text = torch.eye(3), torch.eye(3)
    cases = {
        "expected at least 1 pair (text, image), found shape (0, 2)": torch.zeros(0, 2),
        "expected at least 1 pair (text, image), found shape (3,)": torch.zeros(3),
        "expected pairs of 3 texts and 3 images, found texts 0 to 3 and images 1 to 1": torch.tensor([[0, 1], [3, 1]]),
        "expected pairs of 3 texts and 3 images, found texts 0 to 0 and images -1 to 2": torch.tensor(
            [[0, -1], [0, 2]]
        ),
    }
    for expected, pairs in cases.items():
        with pytest.raises(DataError) as error:
            retrieval(image, text, pairs=pairs)
        assert str(error.value) == expected


def test_hits_of_wide_ties_are_hypergeometric() -> None:
    hypergeom = pytest.importorskip("scipy.stats").hypergeom
    cases = [(g, t, p) for g in (0, 2, 9, 10, 50) for t in (1, 2, 7, 40) for p in (1, 2, 7) if p <= t]
    ranks = Ranks(*(torch.tensor(column) for column in zip(*cases, strict=True)))
    for k in (1, 5, 10):
        for (greater, tied, good), found in zip(cases, ranks.hits(k).tolist(), strict=True):
            expected = 1 - hypergeom.pmf(0, tied, good, min(tied, max(0, k - greater)))
            assert found == pytest.approx(expected, abs=1e-12)


def test_reciprocals_of_wide_ties_are_exact() -> None:
    cases = [(0, 1000, 1), (3, 1000, 999), (17, 500, 40), (0, 3, 3)]
    ranks = Ranks(*(torch.tensor(column) for column in zip(*cases, strict=True)))
    for (greater, tied, good), found in zip(cases, ranks.reciprocal().tolist(), strict=True):
        orders = math.comb(tied, good)
        chances = [Fraction(math.comb(tied - j, good - 1), orders) for j in range(1, tied - good + 2)]
        expected = sum(chance / (greater + j) for j, chance in enumerate(chances, start=1))
        assert found == pytest.approx(float(expected), rel=1e-12)


def test_no_more_cells_than_allowed_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    held, count = [], ranking.count_around
    monkeypatch.setattr(ranking, "CHUNK_CELLS", 1000)

    def spy(scores: Tensor, best: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        held.append((scores.numel(), scores.untyped_storage().data_ptr()))
        return count(scores, best, extra)

    monkeypatch.setattr(ranking, "count_around", spy)
    retrieval(draw(90, 1), draw(120, 2), torch.arange(120) % 90)
    assert max(cells for cells, _ in held) <= 1000
    assert sum(cells for cells, _ in held) == 2 * 90 * 120
    assert len({place for _, place in held}) <= 2  # one buffer for each direction, at most


def test_a_gpu_counts_as_the_cpu_does_in_blocks_of_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = torch.randint(0, 4, (9, 13), generator=torch.Generator().manual_seed(0)).float()
    best, extra = scores[:, 3].clone(), torch.tensor([2, 5])
    for one, other in zip(
        ranking._count_on_gpu(scores, best, extra), ranking._count_on_cpu(scores, best, extra), strict=True
    ):
        assert torch.equal(one, other)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 2**30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2**30)
    features: Any = SimpleNamespace(device=torch.device("cuda", 0), element_size=lambda: 4)
    cells = []
    for free in (2 * 2**30, 100 * 2**30):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 140 * 2**30))
        cells.append(ranking.block_cells(features))
    assert cells == [2**27, ranking.GPU_CELLS]
    assert ranking.block_cells(scores) == ranking.CHUNK_CELLS


def test_rows_that_begin_alike_are_not_taken_for_equal() -> None:
    base = draw(8, 4).float()
    base[2:6, 0] = base[1, 0]
    twice = torch.cat([base, base[3:5], base[7:]])
    distinct, place, extra = ranking._distinct(twice)
    assert torch.equal(distinct[place], twice)
    assert len(distinct) == 8
    assert extra.tolist() == [1, 1, 1]
    assert len(torch.unique(place)) == 8


@pytest.mark.parametrize("cells", [1, 7, 40, 161])
def test_chunking_gives_the_same_result(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = torch.arange(40) % 16
    image = draw(20, 5)
    text = image[owner] + 0.8 * draw(40, 6)
    text[10:13], image[2] = text[5], image[3]
    whole = retrieval(image, text, owner)
    monkeypatch.setattr(ranking, "CHUNK_CELLS", cells)
    chunked = retrieval(image, text, owner)
    for name in FIELDS:
        torch.testing.assert_close(getattr(chunked, name), getattr(whole, name), atol=1e-12, rtol=0)


def test_collapsed_features_are_quick_and_at_chance() -> None:
    found = retrieval(torch.ones(300, 4), torch.ones(1500, 4), torch.arange(1500) // 5)
    assert found.recall == pytest.approx(100 / 300, abs=1e-4)


@pytest.mark.parametrize(("value", "side"), [(float("nan"), "text"), (float("inf"), "image"), (0.0, "text")])
def test_features_without_a_ranking(value: float, side: str) -> None:
    features = {"image": torch.eye(5), "text": torch.eye(5)}
    features[side][1] = features[side][3] = value
    with pytest.raises(DataError) as error:
        retrieval(**features)
    assert str(error.value) == f"expected finite, non-zero {side} features, found 2 of 5 that are not (row 1, 3)"


def test_many_features_without_a_ranking_are_not_all_named() -> None:
    with pytest.raises(DataError) as error:
        retrieval(torch.zeros(9, 2), torch.ones(9, 2))
    assert str(error.value) == (
        "expected finite, non-zero image features, found 9 of 9 that are not (row 0, 1, 2, 3, 4, ...)"
    )


def test_a_retrieval_of_hits_alone_has_no_ranks() -> None:
    value = torch.ones(1)
    with pytest.raises(DataError, match="^expected the ranks behind a retrieval, found only its hits at 1"):
        _ = Retrieval(value, value, value, value).directions


def test_owners_that_do_not_fit() -> None:
    image, text = torch.eye(3), torch.ones(2, 3)
    cases = {
        "expected an image for each of at least 1 text, found 3 for 2 texts": (text, torch.tensor([0, 1, 2])),
        "expected an image for each of at least 1 text, found 0 for 0 texts": (text[:0], torch.tensor([]).long()),
        "expected owners among 3 images, found 0 to 3": (text, torch.tensor([3, 0])),
        "expected owners among 3 images, found -1 to 2": (text, torch.tensor([-1, 2])),
    }
    for expected, (rows, owner) in cases.items():
        with pytest.raises(DataError) as error:
            retrieval(image, rows, owner)
        assert str(error.value) == expected
    with pytest.raises(DataError, match="found 0 to 3"):
        retrieval(image, torch.ones(4, 3))
