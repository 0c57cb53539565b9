"""Figures are those of the plainest program that computes them, and do not depend on the order of what is measured."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xpet.core.caption_packing import pack
from xpet.core.captions import Corpus, LanguageCaptions, Split
from xpet.core.disparity import disparity, disparity_figures, mean_disparity
from xpet.core.errors import ConfigError
from xpet.core.line_shapes import LineShapes
from xpet.core.metrics import retrieval
from xpet.core.ranking import Ranks
from xpet.core.selection import RULES
from xpet.data.splits import PARTS, apply, few_shot

DIMENSIONS = 4
KINDS = st.integers(0, DIMENSIONS - 1)
"""Which axis a feature lies on: features of one kind have cosine 1, others 0, so that many scores tie exactly."""


def features(kinds: Sequence[int]) -> torch.Tensor:
    return torch.eye(DIMENSIONS)[list(kinds)]


def naive(query: int, candidates: Sequence[int], right: set[int]) -> tuple[float, float]:
    """Mean hit at 1 and mean 1 / rank of the first right candidate over every order of equal scores."""
    hits, reciprocals = [], []
    best = {i for i in range(len(candidates)) if candidates[i] == query}
    rest = [i for i in range(len(candidates)) if i not in best]
    for front in itertools.permutations(best):
        for back in itertools.permutations(rest):
            order = [*front, *back]
            first = next(place for place, i in enumerate(order, 1) if i in right)
            hits.append(float(order[0] in right))
            reciprocals.append(1 / first)
    return statistics.fmean(hits), statistics.fmean(reciprocals)


@given(data=st.data())
def test_retrieval_is_the_mean_over_every_order_of_ties(data: st.DataObject) -> None:
    images = data.draw(st.lists(KINDS, min_size=1, max_size=5))
    owners = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=5))
    texts = data.draw(st.lists(KINDS, min_size=len(owners), max_size=len(owners)))
    found = retrieval(features(images), features(texts), torch.tensor(owners))
    per_text = [naive(text, images, {owner}) for text, owner in zip(texts, owners, strict=True)]
    captioned = sorted(set(owners))
    per_image = [naive(images[i], texts, {t for t, owner in enumerate(owners) if owner == i}) for i in captioned]
    assert found.text_hits.tolist() == pytest.approx([hit for hit, _ in per_text])
    assert found.text_reciprocal.tolist() == pytest.approx([reciprocal for _, reciprocal in per_text])
    assert found.image_hits.tolist() == pytest.approx([hit for hit, _ in per_image])
    assert found.image_reciprocal.tolist() == pytest.approx([reciprocal for _, reciprocal in per_image])


@given(seed=st.integers(0, 10_000), images=st.integers(1, 30), texts=st.integers(1, 40), ties=st.booleans())
def test_retrieval_does_not_depend_on_the_order(seed: int, images: int, texts: int, ties: bool) -> None:
    dice = torch.Generator().manual_seed(seed)

    def made(count: int) -> torch.Tensor:
        if ties:
            return features(torch.randint(DIMENSIONS, (count,), generator=dice).tolist())
        return torch.randn(count, DIMENSIONS, generator=dice, dtype=torch.float64)

    image, text = made(images), made(texts)
    owner = torch.randint(images, (texts,), generator=dice)
    plain = retrieval(image, text, owner)
    order, turn = torch.randperm(texts, generator=dice), torch.randperm(images, generator=dice)
    place = torch.empty_like(turn)
    place[turn] = torch.arange(images)
    other = retrieval(image[turn], text[order], place[owner[order]])
    torch.testing.assert_close(other.text_hits, plain.text_hits[order])
    torch.testing.assert_close(other.text_reciprocal, plain.text_reciprocal[order])
    assert other.recall == pytest.approx(plain.recall)
    assert other.mrr == pytest.approx(plain.mrr)


@given(greater=st.integers(0, 5), tied=st.integers(1, 6), good=st.integers(1, 6), k=st.integers(1, 12))
def test_ranks_are_means_over_every_draw(greater: int, tied: int, good: int, k: int) -> None:
    good = min(good, tied)
    firsts = [min(places) + greater for places in itertools.combinations(range(1, tied + 1), good)]
    ranks = Ranks(*(torch.tensor([number]) for number in (greater, tied, good)))
    assert ranks.hits(k).item() == pytest.approx(statistics.fmean(first <= k for first in firsts))
    assert ranks.expected().item() == pytest.approx(statistics.fmean(firsts))
    assert ranks.reciprocal().item() == pytest.approx(statistics.fmean(1 / first for first in firsts))


RECALL = st.dictionaries(
    st.sampled_from(("en", "de", "tr", "ja", "ko", "fr")), st.floats(0, 100, allow_subnormal=False), min_size=1
)


@given(recall=RECALL, data=st.data())
def test_disparity_is_that_of_the_statistics(recall: dict[str, float], data: st.DataObject) -> None:
    found = disparity(recall)
    values = list(recall.values())
    assert found.mean == pytest.approx(statistics.fmean(values))
    assert found.range == pytest.approx(max(values) - min(values), abs=1e-9)
    assert found.std == pytest.approx(statistics.pstdev(values), abs=1e-6)
    others = [value for language, value in recall.items() if language != "en"]
    gap = statistics.fmean(recall["en"] - value for value in others) if "en" in recall and others else None
    assert found.mean_gap == (None if gap is None else pytest.approx(gap, abs=1e-9))
    assert recall[found.worst] == min(values)
    assert recall[found.best] == max(values)
    shuffled = dict(data.draw(st.permutations(list(recall.items()))))
    again = disparity(shuffled)
    assert [again.mean, again.range, again.std] == pytest.approx([found.mean, found.range, found.std], abs=1e-6)
    shift = disparity({language: value + 7 for language, value in recall.items()})
    assert [shift.range, shift.std] == pytest.approx([found.range, found.std], abs=1e-6)


@given(per_seed=st.lists(st.fixed_dictionaries({name: st.floats(0, 100) for name in ("en", "de", "tr")}), min_size=1))
def test_disparity_over_seeds_is_the_mean_of_each(per_seed: list[dict[str, float]]) -> None:
    found, each = mean_disparity(per_seed), [disparity(recall) for recall in per_seed]
    for name in ("mean", "range", "std", "mean_gap"):
        assert getattr(found, name) == pytest.approx(statistics.fmean(getattr(one, name) for one in each), abs=1e-6)
    table = torch.tensor([list(recall.values()) for recall in per_seed], dtype=torch.float64)
    assert disparity_figures(table).shape == (len(per_seed), 4)


FIGURES = st.fixed_dictionaries(
    {"val_r1": st.integers(0, 20).map(lambda n: n * 5.0), "val_mrr": st.integers(0, 9).map(float),
     "val_loss": st.integers(0, 9).map(float)}
)  # fmt: skip


@pytest.mark.parametrize("latest", [True, False])
@pytest.mark.parametrize("rule", RULES)
@given(figures=st.lists(FIGURES, min_size=1, max_size=12))
def test_the_kept_checkpoint_is_the_best_one(rule: str, latest: bool, figures: list[dict[str, float]]) -> None:
    score = RULES[rule].checkpoint
    kept: int | None = None
    for step, found in enumerate(figures):
        if RULES[rule].replaces(found, None if kept is None else score(figures[kept]), latest):
            kept = step
    best = max(map(score, figures))
    ties = [step for step, found in enumerate(figures) if score(found) == best]
    assert kept == ties[-1 if latest else 0]


@given(
    runs=st.lists(st.lists(FIGURES, min_size=1, max_size=3), min_size=1, max_size=6), rule=st.sampled_from(list(RULES))
)
def test_a_setting_that_lost_seeds_is_never_best(runs: list[list[dict[str, float]]], rule: str) -> None:
    best = max(runs, key=RULES[rule].setting_score)
    assert len(best) == max(map(len, runs))
    rivals = [setting for setting in runs if len(setting) == len(best)]
    name = RULES[rule].setting
    top = max(statistics.fmean(found[name] for found in setting) for setting in rivals)
    assert statistics.fmean(found[name] for found in best) == top


@given(
    runs=st.integers(1, 3), captions=st.integers(1, 8), inserted=st.integers(0, 4), channels=st.sampled_from((32, 768)),
    by_sequence=st.sampled_from((None, False, True)), few=st.booleans(), data=st.data(),
)  # fmt: skip
def test_every_packed_token_is_where_it_is_looked_for(
    runs: int, captions: int, inserted: int, channels: int, by_sequence: bool | None, few: bool, data: st.DataObject
) -> None:
    caption = st.lists(st.integers(0, 50_000), min_size=1, max_size=40)
    rows = [data.draw(st.lists(caption, min_size=captions, max_size=captions)) for _ in range(runs)]
    batch = pack(rows, inserted, channels, LineShapes(by_sequence, few))
    flat = [tokens for run in rows for tokens in run]
    assert len(batch.ids) % runs == 0
    for tokens, place in zip(flat, batch.index.tolist(), strict=True):
        line, number = divmod(place, batch.most)
        at = (batch.segment[line] == number).nonzero().flatten()
        assert batch.positions[line, at].tolist() == list(range(len(tokens) + inserted))
        assert at.tolist() == list(range(int(at[0]), int(at[-1]) + 1))
        begin = line * batch.ids.shape[1] + int(at[0])
        assert batch.bounds is None or {begin, begin + len(at)} <= set(batch.bounds.tolist())
        prompt = [-1] * len(at) if batch.prompt_index is None else batch.prompt_index[line, at].tolist()
        assert prompt == [-1, *range(inserted), *[-1] * (len(tokens) - 1)]
        assert [int(t) for t, own in zip(batch.ids[line, at], prompt, strict=True) if own < 0] == tokens
    filled = sum(len(tokens) + inserted for tokens in flat)
    assert int((batch.segment >= 0).sum()) == filled
    hidden = torch.nn.functional.one_hot(batch.positions, 64).double()
    means = batch.pool(hidden)
    for row, tokens in zip(means, flat, strict=True):
        assert row.sum().item() == pytest.approx(1)
        assert int(row.count_nonzero()) == len(tokens) + inserted


def corpus(sizes: dict[str, int]) -> Corpus:
    splits = {}
    for name, size in sizes.items():
        column = LanguageCaptions("en", tuple(range(size)), {"target": tuple(f"{name} {i}" for i in range(size))})
        splits[name] = Split(tuple(f"{name}{i}.png" for i in range(size)), {"en": column})
    return Corpus("made", splits)


@given(size=st.integers(1, 60), shots=st.integers(1, 30), held=st.none() | st.integers(1, 30), seed=st.integers(0, 99))
def test_a_cut_is_disjoint_whole_and_the_same_again(size: int, shots: int, held: int | None, seed: int) -> None:
    data = corpus({"all": size})
    if shots + (shots if held is None else held) >= size:
        with pytest.raises(ConfigError, match="expected at most"):
            few_shot(data, shots, held, seed)
        return
    plan = few_shot(data, shots, held, seed)
    parts = [getattr(plan, part) for part in PARTS]
    assert sorted(itertools.chain(*parts)) == list(range(size))
    assert [len(part) for part in parts[:2]] == [shots, shots if held is None else held]
    assert few_shot(data, shots, held, seed) == plan
    cut = apply(data, plan)
    for part, indices in zip(PARTS, parts, strict=True):
        assert cut[part].captions["en"].slot("target") == tuple(f"all {i}" for i in indices)
        assert cut[part].images == tuple(f"all{i}.png" for i in indices)


@given(
    sizes=st.fixed_dictionaries({part: st.integers(1, 20) for part in PARTS}), shots=st.integers(1, 25) | st.just("all")
)
def test_a_cut_of_official_splits_takes_each_from_its_own(sizes: dict[str, int], shots: int | str) -> None:
    data = corpus(sizes)
    if isinstance(shots, int) and shots > sizes["train"]:
        with pytest.raises(ConfigError):
            few_shot(data, shots)
        return
    plan = few_shot(data, shots)
    most = math.inf if shots == "all" else float(shots)
    assert [len(set(getattr(plan, part))) for part in PARTS] == [
        min(sizes["train"], most), min(sizes["validation"], most), sizes["test"],
    ]  # fmt: skip
    assert all(name.startswith(part) for part, split in apply(data, plan).items() for name in split.images)
