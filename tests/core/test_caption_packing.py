"""Packed captions: every token in its place, once, and nobody sees a neighbour."""

from __future__ import annotations

import random

import pytest
import torch

from xpet.core.caption_packing import pack
from xpet.core.line_shapes import MULTIPLE


def captions(runs: int, count: int, longest: int, seed: int = 1) -> list[list[list[int]]]:
    rng = random.Random(seed)
    return [[[rng.randrange(3, 99) for _ in range(rng.randint(1, longest))] for _ in range(count)] for _ in range(runs)]


def read_back(packed: object, inserted: int) -> list[list[int]]:
    """The captions, found by their segments and positions alone."""
    found = []
    for place in packed.index.tolist():  # type: ignore[attr-defined]
        line, number = divmod(place, packed.most)  # type: ignore[attr-defined]
        mine = packed.segment[line] == number  # type: ignore[attr-defined]
        assert packed.positions[line][mine].tolist() == list(range(int(mine.sum())))  # type: ignore[attr-defined]
        ids = packed.ids[line][mine].tolist()  # type: ignore[attr-defined]
        found.append(ids[:1] + ids[1 + inserted :])
    return found


@pytest.mark.parametrize(("runs", "count", "longest"), [(1, 1, 1), (1, 10, 30), (3, 7, 12), (4, 50, 64), (2, 3, 500)])
@pytest.mark.parametrize("inserted", [0, 3])
def test_every_caption_is_there_whole_and_in_its_runs_own_lines(
    runs: int, count: int, longest: int, inserted: int
) -> None:
    rows = captions(runs, count, longest)
    packed = pack(rows, inserted, channels=128)
    assert read_back(packed, inserted) == [row for mine in rows for row in mine]
    lines, length = packed.ids.shape
    assert lines % runs == 0
    assert length % MULTIPLE == 0
    owner = packed.index.view(runs, count) // packed.most // (lines // runs)
    assert torch.equal(owner, torch.arange(runs).unsqueeze(1).expand(-1, count))
    tokens = sum(len(row) + inserted for mine in rows for row in mine)
    assert int((packed.segment >= 0).sum()) == tokens
    if inserted:
        assert packed.prompt_index is not None
        inserted_tokens = packed.prompt_index[packed.prompt_index >= 0].tolist()
        assert sorted(inserted_tokens) == sorted(list(range(inserted)) * runs * count)
    else:
        assert packed.prompt_index is None


def test_captions_of_very_different_lengths_leave_little_filler() -> None:
    rows = [[[5] * n for n in (60, 8, 9, 12, 10, 14, 11, 20, 16, 40)] for _ in range(4)]
    packed = pack(rows, channels=768)
    assert 800 / packed.ids.numel() > 0.8
    assert 800 / (40 * 60) < 0.4  # padded to the longest


def test_the_mask_lets_a_token_see_its_own_caption_only() -> None:
    packed = pack([[[1, 2], [3], [4, 5, 6]]], channels=10_000)
    allowed = packed.mask(torch.float32)[:, 0] == 0
    assert torch.equal(allowed, packed.segment.unsqueeze(2) == packed.segment.unsqueeze(1))
    assert allowed.any(dim=2).all()  # nowhere a softmax of nothing
    assert packed.mask(torch.bfloat16).dtype == torch.bfloat16


def test_pooling_is_the_mean_over_a_captions_own_tokens() -> None:
    packed = pack([[[7, 8, 9], [4]], [[5, 5], [6]]], channels=128)
    hidden = packed.ids.double().unsqueeze(-1)
    hidden[packed.segment < 0] = 1e6
    assert packed.pool(hidden).flatten().tolist() == pytest.approx([8.0, 4.0, 5.0, 6.0], abs=1e-12)
