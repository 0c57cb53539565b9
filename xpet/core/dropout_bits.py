"""Dropout as a pure function of what is dropped: counters are hashed, no random generator is used.

Whether a value is dropped depends on the run's seed, the run's own step, the dropout (its site in the model), the
caption's number in the run's batch, the token's position in the caption and the channel; for attention probabilities on
the querying token, the position of the token attended to, and the head. So a run drops the same values alone and in any
stack, packed and padded, on every device.

A token and a channel (or a position and a head) each get 32 random bits, a and b, from a good hash. The value where
they meet gets `x + 2 x^2 mod 2^32` of `x = a + b`, RC6's mixing step: a permutation whose high bits depend on all bits
of x. Two values are independent as long as the bits of their tokens or channels are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

GOLDEN, FIRST, SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""SplitMix64's odd constants (Steele et al. 2014), as signed 64-bit numbers."""
MURMUR = 0x85EBCA6B
"""A constant of MurmurHash3 (Appleby 2011): its powers modulo 2^32 are 2^30 different odd numbers."""
CAPTION = 1 << 20
"""Distance of the counters of two captions: more than a caption has positions."""
COLUMNS, POSITIONS = 1 << 60, 1 << 61
"""Where the counters of channels (or heads) and of positions begin, far from each other."""


def draws(seeds: Tensor, steps: Tensor) -> Tensor:
    """64 random bits of every run's present step, int64 [runs], from its seed and the step, both int64 [runs]."""
    return _mixed(_mixed(seeds) + steps)


def signed(number: int, bits: int = 64) -> int:
    """The lowest `bits` bits of a number, such as a seed, read as a signed integer."""
    half = 1 << (bits - 1)
    return (number + half) % (2 * half) - half


def _mixed(counters: Tensor) -> Tensor:
    """SplitMix64's output function of int64 counters: a permutation of the 64 bits."""
    bits = counters * GOLDEN
    for shift, factor in ((30, FIRST), (27, SECOND)):
        bits = (bits ^ ((bits >> shift) & ((1 << (64 - shift)) - 1))) * factor  # a shift copies the sign
    return bits ^ ((bits >> 31) & ((1 << 33) - 1))


def _high(counters: Tensor) -> Tensor:
    """32 random bits, int32, for every int64 counter; any shape."""
    return (_mixed(counters) >> 32).int()


def _factor(site: int) -> int:
    """An odd int32 number that differs between sites (a dropout's number in the model)."""
    return signed(pow(MURMUR, site + 1, 1 << 32), 32)


@dataclass(frozen=True)
class DropoutBits:
    """The random bits that the dropouts of one forward draw from, all int32.

    Attributes:
        tokens: bits of every token, of its run, step, caption and position, [rows, length].
        positions: bits of every token's position alone, [rows, length].
        columns: bits of every channel, or head, [width].
    """

    tokens: Tensor
    positions: Tensor
    columns: Tensor

    @classmethod
    def of(cls, draws: Tensor, captions: Tensor, positions: Tensor, width: int) -> DropoutBits:
        """Hash the bits of one forward.

        Args:
            draws: bits of every run's present step [runs], see `draws`.
            captions: the number, in its run's batch, of every token's caption, [rows, length] or [rows, 1]; rows come
                run after run, equally many per run.
            positions: every token's position in its caption, from 0, [rows, length].
            width: at least as many as there are channels, or heads.
        """
        drawn = draws.unsqueeze(1).expand(-1, len(positions) // len(draws)).reshape(-1, 1)
        columns = torch.arange(COLUMNS, COLUMNS + width, device=positions.device)
        return cls(_high(drawn + captions * CAPTION + positions), _high(positions + POSITIONS), _high(columns))

    def channels(self, site: int, p: float, like: Tensor) -> Tensor:
        """Factors for hidden states `like` [rows, length, channels]: 0 with probability p, else 1 / (1 - p)."""
        return _factors(self.tokens.unsqueeze(-1) + self.columns[: like.shape[-1]] * _factor(site), p, like)

    def pairs(self, site: int, p: float, like: Tensor) -> Tensor:
        """The same for attention probabilities `like` [rows, heads, length, length]."""
        heads = self.columns[: like.shape[1]].view(-1, 1)
        attended = heads + self.positions.unsqueeze(1) * _factor(site)  # [rows, heads, length]
        attended.addcmul_(attended, attended, value=2)
        return _factors(self.tokens.view(len(attended), 1, -1, 1) + attended.unsqueeze(2), p, like)


def _factors(bits: Tensor, p: float, like: Tensor) -> Tensor:
    """Factors of the type of `like` from sums of bits, int32 of any shape, which are overwritten.

    Memory is passed over few times and not allocated: in float32 the sums are turned into the bits of the factors.
    """
    least = min(max(round(p * (1 << 32)), 1), (1 << 32) - 1) - (1 << 31)  # the least number that is kept
    bits.addcmul_(bits, bits, value=2).clamp_(least - 1, least)
    if like.dtype != torch.float32:
        return bits.sub_(least - 1).to(like.dtype).mul_(1 / (1 - p))
    factor = _single(1 / (1 - p))
    start = torch.tensor(signed((1 - least) * factor, 32), dtype=torch.int32)
    return torch.add(start, bits, alpha=factor, out=bits).view(torch.float32)


def _single(number: float) -> int:
    """The bits, as an integer, of a number of at least 1 in float32."""
    mantissa, exponent = math.frexp(number)
    return ((exponent + 126) << 23) + round((2 * mantissa - 1) * (1 << 23))
