"""Which kind of operation a name is, and what a step's time is divided into."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.bench.profile_step import by_kind, kind_of


@dataclass
class Row:
    key: str
    count: int
    self_cpu_time_total: float
    self_device_time_total: float = 0.0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::addmm", "products"), ("nvjet_tst_128x192", "products"), ("aten::add_", "elementwise"),
        ("aten::native_layer_norm_backward", "LayerNorm"), ("aten::gelu_backward", "GELU"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention"), ("aten::_softmax", "attention"),
        ("Memcpy DtoH (Device -> Pageable)", "copies and conversions"), ("aten::_to_copy", "copies and conversions"),
        ("aten::index_select", "lookups"), ("aten::sum", "sums"), ("aten::_fused_adam_", "Adam"),
        ("aten::tanh", "other"),
    ],
)  # fmt: skip
def test_kinds(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_a_cpu_counts_its_own_time_and_a_gpu_that_of_kernels() -> None:
    rows = [Row("aten::mm", 4, 8000.0), Row("aten::gelu", 2, 2000.0), Row("a step of the optimiser", 1, 500.0)]
    spent, host, launches = by_kind(rows, 2, on_gpu=False)
    assert {kind: ms for kind, ms in spent.items() if ms} == {"products": 4.0, "GELU": 1.0}
    assert (host, launches) == (0.0, 3.0)
    rows = [Row("aten::mm", 4, 8000.0), Row("nvjet", 4, 0.0, 600.0)]
    spent, host, launches = by_kind(rows, 2, on_gpu=True)
    assert {kind: ms for kind, ms in spent.items() if ms} == {"products": 0.3}
    assert (host, launches) == (4.0, 2.0)
