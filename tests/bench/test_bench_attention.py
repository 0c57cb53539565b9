"""The table of both ways, with a kernel and without."""

from __future__ import annotations

import pytest

from tests.bench import bench_attention
from xpet.models import packed_attention
from xpet.models.varlen_attention import products


def test_a_device_without_a_kernel_has_no_time_for_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["12 to 30", "20 to 64"]
    rows = bench_attention.main(["--smoke"])
    assert [(row["tokens"], row["taken"]) for row in rows] == [(name, "mask") for name in names]
    assert all(set(row) == {"tokens", "mask ms", "mask filler", "taken"} for row in rows)
    monkeypatch.setattr(packed_attention, "kernel_for", lambda *case: products)
    rows = bench_attention.main(["--smoke"])
    assert all(row["sequences ms"] > 0 and 0 < row["sequences filler"] < 0.2 for row in rows)
