"""Captions attended to as sequences: the same features as with masks, whichever kernel of the device computes them.

The kernels of a GPU are stood in for by loops over the sequences and by what their documentation says.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests import towers
from tests.training.test_graphs import Recorder
from tests.training.test_layouts import METHODS, ROWS, RUN, shaken
from tests.training.test_stream import check
from xpet.core.caption_packing import PackedBatch, Sequences, pack
from xpet.core.config import FitPlan
from xpet.core.errors import XpetWarning
from xpet.core.line_shapes import LineShapes
from xpet.methods.build import build_stack
from xpet.models import packed_attention, varlen_attention
from xpet.models.pooling import Pooling
from xpet.models.pre_norm import build_pre_norm
from xpet.models.text_tower import TextTower
from xpet.models.varlen_attention import kernel_for, nested, products
from xpet.training import graphs
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.layouts import LAYOUTS, LayoutContext
from xpet.training.selection import TrainedRun

SHAPES = (LineShapes(by_sequence=True), LineShapes(by_sequence=True, few=True))
CPU = torch.device("cpu")
ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def one_by_one(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    """A sequence after the other, as slow as can be."""
    parts = []
    assert sequences.bounds.dtype == torch.int32
    for begin, end in pairwise(sequences.bounds.tolist()):
        assert 0 < end - begin <= sequences.longest
        for token in range(begin, end):
            seen = slice(begin, token + 1 if sequences.causal else end)
            weights = torch.stack([(key[seen] * query[token]).sum(-1) * scale]).softmax(dim=1)[0]  # [seen, heads]
            parts.append((weights.unsqueeze(-1) * value[seen]).sum(dim=0))
    return torch.stack(parts)


class Kernels:
    """Stands for a GPU that has a kernel; counts what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[torch.dtype, int, bool]] = []
        self.called = 0

    def __call__(self, device: torch.device, dtype: torch.dtype, channels: int, causal: bool = False) -> Any:
        self.asked.append((dtype, channels, causal))

        def kernel(*given: Any) -> Tensor:
            self.called += 1
            return products(*given)

        return kernel


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Kernels:
    made = Kernels()
    monkeypatch.setattr(packed_attention, "kernel_for", made)
    return made


def drawn(lengths: tuple[int, ...], causal: bool) -> tuple[tuple[Tensor, Tensor, Tensor], Sequences]:
    """Queries, keys and values, and the sequences they are of."""
    generator = torch.Generator().manual_seed(1)
    shape = (sum(lengths), 2, 16)
    one, two, three = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    parts = (one.requires_grad_(), two.requires_grad_(), three.requires_grad_())
    bounds = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    return parts, Sequences(bounds, 128, causal)


@pytest.mark.parametrize(("kernel", "causal"), [(products, False), (products, True), (nested, False)])
def test_kernels_attend_to_each_sequence_by_itself(kernel: Callable[..., Tensor], causal: bool) -> None:
    parts, sequences = drawn((3, 1, 5, 2), causal)
    found, expected = (way(*parts, sequences, 0.3) for way in (kernel, one_by_one))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad(found, parts, weights), torch.autograd.grad(expected, parts, weights), strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", METHODS)
def test_by_sequence_equals_padded_and_no_mask_is_made(
    name: str, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PackedBatch, "mask", lambda *given: pytest.fail("a mask was made"))
    runs = 1 if name == "full" else len(ROWS)
    stack, found, gradients = shaken(METHODS[name], runs), [], []
    context = LayoutContext(stack, make_engine("cpu"), towers.pad, towers.HIDDEN)
    for layout, shapes in (("padded", LineShapes()), *(("packed", shapes) for shapes in SHAPES)):
        stack.clear_gradients()
        with stack.all():
            found.append(LAYOUTS[layout](ROWS[:runs], replace(context, shapes=shapes)).encode())
        found[-1].square().sum().backward()
        gradients.append(stack.gradients())
    assert kernels.called == 2 * towers.LAYERS
    assert set(kernels.asked) == {(torch.float64, towers.HIDDEN // 2, False)}
    for features, slopes in zip(found[1:], gradients[1:], strict=True):
        torch.testing.assert_close(features, found[0], atol=1e-12, rtol=0)
        for one, other in zip(slopes, gradients[0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("causal", [False, True])
def test_pre_norm_towers_causal_and_not(causal: bool, kernels: Kernels) -> None:
    transformer = build_pre_norm(
        causal, vocab_size=towers.VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=20,
    )  # fmt: skip
    for pooling in (Pooling(), Pooling("end", end=2)):
        tower = TextTower(transformer, 8, pooling).double().eval()
        batches = [pack([ROWS[1]], channels=32, shapes=shapes) for shapes in (*SHAPES, LineShapes())]
        with torch.no_grad():
            plain = tower(*towers.pad(ROWS[1]))
            for batch in batches:
                torch.testing.assert_close(tower.packed(batch), plain, atol=1e-12, rtol=0)
    assert set(kernels.asked) == {(torch.float64, 8, causal)}
    assert kernels.called == 2 * len(SHAPES) * 2


def test_where_attention_is_dropped_out_or_chosen_to_be_eager_a_mask_is_made(kernels: Kernels) -> None:
    stack, engine = shaken(METHODS["lora"], 2), make_engine("cpu")
    found = {}
    for layout in LAYOUTS:
        batch = LAYOUTS[layout](ROWS[:2], LayoutContext(stack, engine, towers.pad, towers.HIDDEN, SHAPES[1]))
        stack.set_dropout(torch.tensor([7, 8]), torch.tensor([4, 0]))
        with stack.all():
            found[layout] = batch.encode()
    stack.tower.eval()
    torch.testing.assert_close(found["packed"], found["padded"], atol=1e-10, rtol=0)
    with stack.all():
        stack.tower.transformer.set_attn_implementation("eager")  # type: ignore[union-attr, operator]
        plain = LAYOUTS["packed"](ROWS[:2], LayoutContext(stack, engine, towers.pad, towers.HIDDEN, SHAPES[1])).encode()
        assert kernels.called == 0
        stack.tower.transformer.set_attn_implementation("sdpa")  # type: ignore[union-attr, operator]
        again = LAYOUTS["packed"](ROWS[:2], LayoutContext(stack, engine, towers.pad, towers.HIDDEN, SHAPES[1])).encode()
    assert kernels.called == towers.LAYERS
    torch.testing.assert_close(plain, again, atol=1e-12, rtol=0)


def test_the_device_and_the_plan_decide_how_lines_are_shaped(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = build_stack(towers.tower(), METHODS["lora"], [1])
    long = [[5] * (80 + 47 * number % 240) for number in range(16)]

    def shapes(plan: FitPlan, precision: str = "fp32", sample: Sequence[list[int]] = long) -> LineShapes:
        return LayoutContext.of(stack, make_engine("cpu", precision), towers.pad, plan, sample).shapes

    assert shapes(FitPlan(), sample=ROWS[0]) == LineShapes()
    assert shapes(FitPlan(cuda_graphs=True), sample=ROWS[0]) == LineShapes(few=True)
    assert not kernels.asked  # for short captions none is tried out
    assert shapes(FitPlan()) == LineShapes(by_sequence=None)
    assert shapes(FitPlan(cuda_graphs=True)) == LineShapes(by_sequence=None, few=True)
    assert shapes(FitPlan(dropout="model", cuda_graphs=True)) == LineShapes(few=True)
    assert {asked[0] for asked in kernels.asked} == {torch.float64}
    shapes(FitPlan(), "bf16")
    assert kernels.asked[-1][0] == torch.bfloat16
    monkeypatch.undo()
    assert shapes(FitPlan()) == LineShapes()  # a CPU has no kernel


def always_by_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also captions so short that a mask would take less time."""
    of = LayoutContext.of

    def forced(*given: Any) -> LayoutContext:
        context = of(*given)
        return replace(context, shapes=replace(context.shapes, by_sequence=True))

    monkeypatch.setattr(LayoutContext, "of", forced)


def trained(device: str, dtype: torch.dtype, recorded: bool) -> TrainedRun:
    """A run of LoRA."""
    data, engine = towers.run_data(1), make_engine(device)
    data = replace(data, image=data.image.to(dtype), val_image=data.val_image.to(dtype))
    stack = build_stack(towers.tower(dtype), METHODS["lora"], [RUN.seed]).to(engine.device)
    plan = FitPlan(batch_size=5, steps=12, validate_every=4, cuda_graphs=recorded)
    (outcome,) = fit(stack, [(RUN, data)], plan, towers.pad, engine)
    return outcome


def test_whole_trainings_agree_recorded_and_not(kernels: Kernels, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder, outcomes = Recorder(), []
    monkeypatch.setattr(graphs, "cuda_graphs", lambda: recorder)
    monkeypatch.setattr(graphs, "check", lambda config, engine, processes=1: None)
    always_by_sequence(monkeypatch)
    for recorded in (True, False, False):
        outcomes.append(trained("cpu", torch.float64, recorded))
        if len(outcomes) == 2:
            assert recorder.replayed > 0
            assert kernels.called > 0
            monkeypatch.undo()  # the last one has no kernel
    assert [entry["step"] for entry in outcomes[0].history] == [0, 4, 8, 12]
    for outcome in outcomes[:2]:
        check(outcome, outcomes[2])


CASE = (CPU, torch.float32, 16, False)


def chosen(monkeypatch: pytest.MonkeyPatch, case: Any = CASE, **given: Any) -> Any:
    monkeypatch.setattr(varlen_attention, "KERNELS", given)
    return varlen_attention._first_that_works(case)


def off(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    return products(query, key, value, sequences, 1.1 * scale)


def fails_backward(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    return products(query.detach(), key, value, sequences, scale)


def of_not_a_number(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, scale: float) -> Tensor:
    return (query + key + value) * torch.nan


def test_the_first_kernel_that_agrees_is_taken_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            for causal in (False, True):
                case = (CPU, dtype, 16, causal)
                assert chosen(monkeypatch, case, first=products, second=off) is products
        assert chosen(monkeypatch, (CPU, torch.float64, 16, False), first=products) is None  # none is made for it


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (off, r"it is off by 0\.\d+"), (of_not_a_number, "it is off by nan"),
        (fails_backward, "The differentiated Tensor at index 0 .*"),
        (nested, "No viable backend .*"),  # on a CPU
    ],
)  # fmt: skip
def test_a_kernel_that_fails_is_left_out_with_one_warning(
    wrong: Any, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = rf"attention over sequences does not work on cpu in float32 by first \({why}\); "
    with pytest.warns(XpetWarning, match=f"^{start}second is used$") as told:
        assert chosen(monkeypatch, first=wrong, second=products) is products
    with pytest.warns(XpetWarning, match=f"^{start}a mask, which is slower, is used$") as also:
        assert chosen(monkeypatch, first=wrong, second=off) is None
    assert (len(told), len(also)) == (1, 1)


def test_a_device_is_tried_out_once_and_never_while_it_records(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernel_for(CPU, torch.float32, 16) is None
    tried: list[object] = []
    monkeypatch.setattr(varlen_attention, "_found", {})

    def first(case: object) -> object:
        tried.append(case)
        return products

    monkeypatch.setattr(varlen_attention, "_first_that_works", first)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    device = torch.device("cuda", 0)
    assert kernel_for(device, torch.bfloat16, 64) is None
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    assert [kernel_for(device, torch.bfloat16, 64) for _ in range(3)] == [products] * 3
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert kernel_for(torch.device("cuda"), torch.bfloat16, 64) is products
    assert tried == [(device, torch.bfloat16, 64, False)]


def test_what_pytorchs_kernel_is_made_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made_for = varlen_attention._is_made_for
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", SimpleNamespace())
    device = torch.device("cuda", 0)
    assert made_for("varlen_attn", device, torch.bfloat16, 64)
    assert not made_for("varlen_attn", device, torch.float32, 64)
    assert not made_for("varlen_attn", device, torch.bfloat16, 12)
    assert made_for("nested", device, torch.float32, 12)
    assert not made_for("nested", device, torch.float64, 64)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not made_for("varlen_attn", device, torch.float16, 64)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("version", ["2.10", "2.11"])
def test_pytorchs_kernel_is_called_as_each_version_documents_it(
    version: str, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def first(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False):  # type: ignore[no-untyped-def]
        seen.append((cu_seq_q, cu_seq_k, max_q, max_k, is_causal))
        return one_by_one(query, key, value, Sequences(cu_seq_q, max_q, is_causal), query.shape[-1] ** -0.5)

    def second(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)
    ):  # type: ignore[no-untyped-def]
        seen.append((cu_seq_q, cu_seq_k, max_q, max_k, window_size == (-1, 0)))
        return one_by_one(query, key, value, Sequences(cu_seq_q, max_q, window_size == (-1, 0)), scale)

    called = SimpleNamespace(varlen_attn=first if version == "2.10" else second)
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", called)
    parts, sequences = drawn((3, 1, 5, 2), causal)
    found, expected = (way(*parts, sequences, 0.3) for way in (varlen_attention.flash, products))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert seen == [(sequences.bounds, sequences.bounds, 128, 128, causal)]


def test_the_installed_pytorchs_kernel_has_the_parameters_it_is_called_with() -> None:
    varlen = pytest.importorskip("torch.nn.attention.varlen", reason="before PyTorch 2.10")
    known = varlen_attention._parameters(varlen.varlen_attn)
    assert known >= {"query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"}
    assert "window_size" in known or "is_causal" in known


@ON_CUDA
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_this_gpu_has_a_kernel(dtype: torch.dtype, causal: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert varlen_attention._first_that_works((torch.device("cuda"), dtype, 64, causal)) is not None


@ON_CUDA
def test_whole_trainings_agree_on_this_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    always_by_sequence(monkeypatch)
    by_sequence = [trained("cuda", torch.float32, recorded) for recorded in (False, True)]
    monkeypatch.setattr(packed_attention, "kernel_for", lambda *case: None)
    by_mask = trained("cuda", torch.float32, recorded=False)
    for run in by_sequence:
        for one, other in zip(run.history, by_mask.history, strict=True):
            assert one["val_loss"] == pytest.approx(other["val_loss"], rel=0.05)
