"""Few shapes of lines at little filler, and on a CPU the same lines as ever."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

from tests.bench.setting import drawn_lengths
from xpet.core.caption_packing import PackedBatch, pack
from xpet.core.line_shapes import MULTIPLE, STEP, TOGETHER, LineShapes, rounded

SHAPES = tuple(LineShapes(by_sequence, few) for by_sequence in (False, True, None) for few in (False, True))


def test_lengths_are_rounded_up_by_little() -> None:
    kept = sorted({rounded(tokens) for tokens in range(1, 5000)})
    assert kept[:10] == [MULTIPLE * number for number in range(1, 11)]
    for one, other in pairwise(kept):
        assert other % MULTIPLE == 0
        assert one < other <= max(one + MULTIPLE, STEP * one)
    for tokens in range(1, 5000):
        assert rounded(tokens) == min(length for length in kept if length >= tokens)
    assert len(kept) < 60


def steps(pairs: int, rows: int, epochs: int) -> Iterator[list[list[list[int]]]]:
    """Captions of one German run's steps, as long as XTD's: a batch of the student's, then of the anchor's."""
    rng, columns = random.Random(0), [drawn_lengths("de", slot, rows) for slot in ("target", "pivot")]
    for _ in range(epochs):
        order = rng.sample(range(rows), rows)
        for first in range(0, rows - pairs + 1, pairs):
            yield [[[5] * column[row] for column in columns for row in order[first : first + pairs]]]


@pytest.mark.parametrize(
    ("pairs", "rows", "epochs", "by_sequence", "before", "most"),
    [
        (5, 50, 20, True, 20, 7), (5, 50, 20, False, 20, 9),
        (256, 256 * 8, 1, True, 7, 2), (256, 256 * 8, 1, False, 7, 3),
    ],
)  # fmt: skip
def test_steps_come_in_few_shapes_at_little_filler(
    pairs: int, rows: int, epochs: int, by_sequence: bool, before: int, most: int
) -> None:
    shapes, cheapest, filler = set(), set(), []
    for captions in steps(pairs, rows, epochs):
        batch = pack(captions, 0, 1024, LineShapes(by_sequence, few=True))
        shapes.add((batch.key, *(tensor.shape for tensor in batch.tensors)))
        filler.append(1 - sum(map(len, captions[0])) / batch.ids.numel())
        plain = pack(captions, 0, 1024)
        cheapest.add((plain.key, *(tensor.shape for tensor in plain.tensors)))
    assert len(shapes) <= most < before <= len(cheapest)
    assert sum(filler) / len(filler) < 0.08
    assert max(filler) < 0.17


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize(("runs", "captions", "inserted"), [(1, 1, 0), (1, 10, 0), (3, 7, 4), (2, 150, 0), (1, 64, 2)])
def test_captions_are_whole_sequences_and_no_sequence_is_empty(
    runs: int, captions: int, inserted: int, shapes: LineShapes
) -> None:
    rng = random.Random(captions)
    given = [[[rng.randrange(3, 99) for _ in range(rng.randint(1, 40))] for _ in range(captions)] for _ in range(runs)]
    batch = pack(given, inserted, 128, shapes)
    lines, length = batch.ids.shape
    assert lines % runs == 0
    assert rounded(length) == length or not shapes.few
    if not shapes.by_sequence:  # short captions are none where it may be chosen, either
        assert batch.bounds is None
        assert batch.sequences() is None
        assert batch.key == (batch.most, 0)
        return
    assert lines == runs * -(-captions // TOGETHER)
    assert batch.most <= TOGETHER
    sequences = batch.sequences()
    assert sequences is not None
    assert sequences.bounds.dtype == torch.int32
    check_bounds(batch, sequences.bounds.tolist(), runs * captions)


def check_bounds(batch: PackedBatch, bounds: list[int], captions: int) -> None:
    """The bounds cut all tokens into captions and filler; there are as many for every batch of this shape."""
    lines, length = batch.ids.shape
    assert len(bounds) == 1 + captions + lines * -(-batch.most // MULTIPLE)
    assert (bounds[0], bounds[-1]) == (0, lines * length)
    assert batch.longest % 128 == 0
    found = []
    for begin, end in pairwise(bounds):
        assert begin < end <= begin + batch.longest
        numbers = {(place // length, int(batch.segment.flatten()[place])) for place in range(begin, end)}
        assert len(numbers) == 1
        if min(numbers)[1] >= 0:
            assert batch.positions.flatten()[begin:end].tolist() == list(range(end - begin))
            found += list(numbers)
    assert sorted(line * batch.most + number for line, number in found) == sorted(batch.index.tolist())


@pytest.mark.parametrize("few", [False, True])
def test_captions_are_sequences_where_that_costs_fewer_blocks(few: bool) -> None:
    rng = random.Random(1)
    short, long = ([[[5] * rng.randint(*span) for _ in range(16)]] for span in ((10, 40), (80, 320)))
    shapes = LineShapes(by_sequence=None, few=few)
    with_mask = pack(short, 0, 1024, shapes)
    assert with_mask.bounds is None
    assert with_mask.ids.shape[1] <= (128 if few else 192)
    lines = pack(long, 0, 1024, shapes)
    assert lines.bounds is not None
    assert len(lines.ids) == 1


def test_a_long_caption_makes_sequences_longer_in_few_steps() -> None:
    longest = {size: pack([[[1] * size, [2]]], shapes=LineShapes(True, True)).longest for size in (1, 128, 129, 300)}
    assert longest == {1: 128, 128: 128, 129: 256, 300: 512}


def test_the_bounds_are_sent_with_the_other_tensors() -> None:
    batch = pack([[[1, 2], [3]]], inserted=1, shapes=LineShapes(by_sequence=True))
    sent = batch.to(lambda tensor: tensor + 1)
    assert [torch.equal(one + 1, other) for one, other in zip(batch.tensors, sent.tensors, strict=True)] == [True] * 6
    assert sent.bounds is not None
    assert sent.bounds[0] == 1
    assert sent.longest == batch.longest
