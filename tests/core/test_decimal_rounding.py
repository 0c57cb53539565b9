"""Rounding on a device against Python's own."""

from __future__ import annotations

import random

import torch

from xpet.core.decimal_rounding import rounded


def test_every_value_is_rounded_as_python_rounds_it() -> None:
    chance = random.Random(5)
    halves = [count / 800 for count in range(801)] + [count * 0.00005 for count in range(5000)]
    values = [*halves, *(chance.random() for _ in range(5000)), 0.0, 1.0]
    table = torch.tensor(values, dtype=torch.float64)
    assert rounded(table, 4).tolist() == [round(value, 4) for value in values]
    assert rounded(table, 2).tolist() == [round(value, 2) for value in values]
    assert torch.round(table, decimals=4).tolist() != [round(value, 4) for value in values]  # why it is not that
    assert rounded(torch.tensor([float("nan")], dtype=torch.float64), 4).isnan().all()
