"""Dropout by hashing: equal to a plain implementation, as often zero as it should be, and without visible pattern."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xpet.core.dropout_bits import DropoutBits, draws, signed

BITS, LOW = 1 << 64, 1 << 32
LENGTH, WIDTH, HEADS = 61, 129, 3


def splitmix(counter: int) -> int:
    """SplitMix64's output function as it is published, in unsigned numbers."""
    z = counter * 0x9E3779B97F4A7C15 % BITS
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % BITS
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % BITS
    return z ^ (z >> 31)


def spread(x: int) -> int:
    return (x + 2 * x * x) % LOW


def dropped(seed: int, step: int, caption: int, position: int, b: int, p: float) -> bool:
    """Whether a token's value is dropped where the other side has the bits b."""
    a = splitmix(splitmix(splitmix(seed) + step) + caption * 2**20 + position) >> 32
    x = spread((a + b) % LOW)
    return signed(x, 32) + 2**31 < round(p * LOW)


def channel(site: int, number: int) -> int:
    return (splitmix(2**60 + number) >> 32) * pow(0x85EBCA6B, site + 1, LOW) % LOW


def looked_at(site: int, head: int, position: int) -> int:
    a = (splitmix(2**61 + position) >> 32) * pow(0x85EBCA6B, site + 1, LOW)
    return spread(((splitmix(2**60 + head) >> 32) + a) % LOW)


def bits(seed: int = 1, step: int = 0, captions: int = 4, first: int = 0, length: int = LENGTH) -> DropoutBits:
    """Of one run; its captions from `first` on, one a line."""
    numbers = torch.arange(first, first + captions).unsqueeze(1)
    positions = torch.arange(length).expand(captions, length)
    return DropoutBits.of(draws(torch.tensor([signed(seed)]), torch.tensor([step])), numbers, positions, WIDTH)


def channels(made: DropoutBits, site: int = 0, p: float = 0.5, dtype: torch.dtype = torch.float64) -> Tensor:
    return made.channels(site, p, torch.zeros(*made.tokens.shape, WIDTH, dtype=dtype))


def pairs(made: DropoutBits, site: int = 1, p: float = 0.5, dtype: torch.dtype = torch.float64) -> Tensor:
    rows, length = made.tokens.shape
    return made.pairs(site, p, torch.zeros(rows, HEADS, length, length, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("seed", "step", "p"), [(1, 0, 0.1), (-7, 3, 0.5), (2**64 - 1, 1999, 0.3)])
def test_every_entry_is_that_of_a_plain_implementation(seed: int, step: int, p: float, dtype: torch.dtype) -> None:
    made, factor = bits(seed % BITS, step, length=7), float(torch.tensor(1 / (1 - p), dtype=dtype))
    states, weights = channels(made, 2, p, dtype), pairs(made, 5, p, dtype)
    assert (states.dtype, weights.dtype) == (dtype, dtype)
    assert (states.shape, weights.shape) == ((4, 7, WIDTH), (4, HEADS, 7, 7))
    for row, position, column in [(0, 0, 0), (0, 6, 128), (3, 2, 7), *((1, 4, c) for c in range(20))]:
        zero = dropped(seed % BITS, step, row, position, channel(2, column), p)
        assert states[row, position, column] == (0 if zero else factor)
        head, seen = column % HEADS, column % 7
        zero = dropped(seed % BITS, step, row, position, looked_at(5, head, seen), p)
        assert weights[row, head, position, seen] == (0 if zero else factor)


@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.9])
def test_as_many_are_zero_as_should_be_and_the_mean_is_one(p: float) -> None:
    for factors in (channels(bits(captions=40), p=p), pairs(bits(captions=20), p=p)):
        share, error = float((factors == 0).double().mean()), math.sqrt(p * (1 - p) / factors.numel())
        assert abs(share - p) < 4 * error
        assert set(factors.unique().tolist()) == {0.0, 1 / (1 - p)}
        assert abs(float(factors.mean()) - 1) < 4 * error / (1 - p)
        for dim in range(factors.dim()):  # no token, channel, caption or head is favoured
            each = (factors == 0).double().transpose(0, dim).flatten(1)
            assert float((each.mean(dim=1) - p).abs().max()) < 5 * math.sqrt(p * (1 - p) / each.shape[1])


def agree(one: Tensor, other: Tensor) -> bool:
    """Whether two masks at p = 1/2 agree as often as independent ones do, half of the time."""
    assert one.shape == other.shape
    return abs(float((one == other).double().mean()) - 0.5) < 4 * 0.5 / math.sqrt(one.numel())


@pytest.mark.parametrize("kind", [channels, pairs])
def test_everything_that_counts_makes_another_mask(kind) -> None:  # type: ignore[no-untyped-def]
    mask = kind(bits())
    assert torch.equal(mask, kind(bits()))
    for other in (bits(seed=2), bits(seed=2**63), bits(step=1), bits(first=4)):
        assert agree(mask, kind(other))
    assert all(agree(mask, kind(bits(), site=site)) for site in (2, 3, 49))
    for dim in range(1, mask.dim()):  # position, channel; head and the position looked at
        assert agree(mask.narrow(dim, 1, mask.shape[dim] - 1), mask.narrow(dim, 0, mask.shape[dim] - 1))


def chi_square(factors: Tensor, p: float, first: int, second: int) -> float:
    """Of the 16 patterns in blocks of 2 x 2 neighbours along two dimensions, against independent ones; 15 degrees."""
    dropped = (factors == 0).movedim((first, second), (-2, -1))
    rows, columns = (size // 2 * 2 for size in dropped.shape[-2:])
    blocks = dropped[..., :rows, :columns].unflatten(-2, (-1, 2)).unflatten(-1, (-1, 2))
    parts = [blocks[..., i, :, j].long() for i in (0, 1) for j in (0, 1)]
    pattern = parts[0] + 2 * parts[1] + 4 * parts[2] + 8 * parts[3]
    found = torch.bincount(pattern.flatten(), minlength=16).double()
    ones = torch.tensor([bin(k).count("1") for k in range(16)])
    expected = p**ones * (1 - p) ** (4 - ones) * pattern.numel()
    return float(((found - expected).square() / expected).sum())


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_neighbours_are_independent(p: float) -> None:
    """Blocks of neighbouring tokens, channels, captions, steps, seeds, sites: 44.3 is exceeded once in 10,000 times."""
    hidden = channels(bits(captions=64), p=p)
    weights = pairs(bits(captions=32), p=p)
    steps = torch.stack([channels(bits(step=t), p=p) for t in range(24)])
    seeds = torch.stack([channels(bits(seed=s), p=p) for s in range(24)])
    sites = torch.stack([channels(bits(), site=s, p=p) for s in range(24)])
    layers = torch.stack([pairs(bits(), site=s, p=p) for s in range(24)])
    found = [chi_square(hidden, p, *dims) for dims in ((1, 2), (0, 2), (0, 1))]
    found += [chi_square(weights, p, *dims) for dims in ((2, 3), (0, 3), (1, 3), (1, 2))]
    found += [chi_square(part, p, 0, dim) for part in (steps, seeds, sites) for dim in (2, 3)]
    found += [chi_square(layers, p, 0, dim) for dim in (3, 4)]
    assert max(found) < 44.3
    assert 10 < sum(found) / len(found) < 20  # as it should be on average: 15


def test_runs_and_captions_may_lie_anywhere() -> None:
    """Two runs, several captions a line: every token's mask is that of the same token by itself."""
    seeds, steps = torch.tensor([3, 9]), torch.tensor([5, 0])
    captions = torch.tensor([[2, 2, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 1, 1, 1], [2, 2, 2, 2, 2]])
    positions = torch.tensor([[0, 1, 0, 1, 2], [0, 1, 2, 3, 0], [0, 1, 0, 1, 2], [0, 1, 2, 3, 4]])
    made = DropoutBits.of(draws(seeds, steps), captions, positions, WIDTH)
    hidden, weights = channels(made), pairs(made)
    for line, run in enumerate((0, 0, 1, 1)):
        own = bits(int(seeds[run]), int(steps[run]))
        for place in range(5):
            caption, position = int(captions[line, place]), int(positions[line, place])
            assert torch.equal(hidden[line, place], channels(own)[caption, position])
            expected = pairs(own)[caption, :, position][:, positions[line]]
            assert torch.equal(weights[line, :, place], expected)


def test_numbers_wrap_as_machine_words_do() -> None:
    assert [signed(n) for n in (0, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -1)] == [0, 2**63 - 1, -(2**63), -1, 0, -1]
    assert [signed(n, 32) for n in (2**31, LOW + 5)] == [-(2**31), 5]
