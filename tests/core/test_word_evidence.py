"""Words that explain a gap, and words that do not."""

from __future__ import annotations

from collections.abc import Hashable

import numpy
import pytest
import torch
from torch import Tensor

from xpet.core import word_evidence as module
from xpet.core.errors import DataError
from xpet.core.word_evidence import WordEvidence, counts, predict, word_evidence


def captions(count: int, words: int = 30, seed: int = 0) -> list[list[int]]:
    """Captions of five different words each."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(words, generator=generator)[:5].tolist() for _ in range(count)]


def found(missing: int, seed: int, pictures: int = 300) -> WordEvidence:
    """The evidence where the first `missing` words are unknown; where none is, captions miss by chance."""
    words = captions(pictures, seed=seed)
    generator = torch.Generator().manual_seed(100 + seed)
    unknown = torch.tensor([float(sum(word < missing for word in row)) for row in words])
    chance = torch.rand(pictures, generator=generator)
    deficit = (unknown if missing else 2 * chance) + 0.5 * torch.randn(pictures, generator=generator)
    shortfall = ((unknown if missing else chance) > (0 if missing else 0.5)).double()
    return word_evidence(words, torch.arange(pictures), deficit, shortfall)


def test_unknown_words_explain_what_is_missing() -> None:
    for seed in range(3):
        evidence = found(3, seed)
        assert evidence.holds
        assert evidence.explained > 0.8
        assert evidence.p == pytest.approx(1 / 1001)


def test_words_do_not_explain_chance() -> None:
    p = [found(0, seed).p for seed in range(20)]
    assert sum(value < 0.01 for value in p) <= 1
    assert 0.2 < sum(value < 0.5 for value in p) / 20 < 0.8


def test_bounds() -> None:
    assert WordEvidence(0.1, 0.009).holds
    assert not WordEvidence(0.09, 0.001).holds
    assert not WordEvidence(1.0, 0.01).holds


def test_nothing_missing_is_not_explained() -> None:
    words = captions(40)
    evidence = word_evidence(words, torch.arange(40), torch.rand(40), torch.zeros(40))
    assert evidence == WordEvidence(0.0, 1.0)


def test_captions_of_a_picture_are_predicted_from_those_of_other_pictures() -> None:
    """Five captions of each picture share words that no other picture has: nothing can be known of them."""
    words: list[list[str]] = [[f"own{picture}", "all"] for picture in range(60) for _ in range(5)]
    picture = torch.arange(60).repeat_interleave(5)
    deficit = torch.rand(60, generator=torch.Generator().manual_seed(1)).repeat_interleave(5)
    evidence = word_evidence(words, picture, deficit, (deficit[::5] > 0.5).double())
    assert evidence.p > 0.05


def test_words_are_counted_and_rare_ones_together(monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[list[Hashable]] = [
        ["a", "a", "b", "x"],
        ["a", "c", "y", "y"],
        ["b", 3, "a"],
        ["b", "a"],
        ["b", "a"],
        [3, 3, "b"],
    ]
    monkeypatch.setattr(module, "LEAST", 2)
    table = counts(words)
    assert table.tolist() == [
        [2, 1, 0, 1],
        [1, 0, 0, 3],
        [1, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 2, 0],
    ]  # a, b, 3 and the others
    monkeypatch.setattr(module, "MOST_WORDS", 1)
    assert counts(words).shape == (6, 2)


@pytest.mark.parametrize("rows", [12, 60])
def test_the_regression_is_that_of_the_normal_equations(rows: int) -> None:
    generator = torch.Generator().manual_seed(2)
    table = torch.randint(0, 3, (rows, 20), generator=generator).float()
    values = torch.randn(rows, generator=generator, dtype=torch.float64)
    fold = torch.arange(rows) % 3
    expected = torch.zeros(rows, dtype=torch.float64)
    for number in range(3):
        x, y = table[fold != number].double().numpy(), values[fold != number].numpy()
        centred = x - x.mean(axis=0)
        weight = numpy.linalg.lstsq(
            numpy.vstack([centred, numpy.sqrt(module.SHRINKAGE) * numpy.eye(20)]),
            numpy.concatenate([y - y.mean(), numpy.zeros(20)]), rcond=None,
        )[0]  # fmt: skip
        held: Tensor = table[fold == number].double()
        expected[fold == number] = torch.from_numpy((held.numpy() - x.mean(axis=0)) @ weight + y.mean())
    torch.testing.assert_close(predict(table, values, fold), expected, atol=1e-5, rtol=1e-5)


def test_one_picture_tells_nothing() -> None:
    with pytest.raises(DataError, match="^expected captions of at least 2 pictures, found 1$"):
        word_evidence([["a"], ["b"]], torch.zeros(2, dtype=torch.long), torch.rand(2), torch.ones(1))
