"""Group-aware modules: each holds one set of parameters per run, shape [runs, ...], beside a frozen shared backbone.

Rows arrive run-major: with runs `a..b` selected, [runs * rows, length, hidden] holds `rows` rows of run a first.
With nothing selected every module behaves as the untouched backbone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass
class Selection:
    """Which runs the rows of the current forward belong to; `stop == start` means the bare backbone.

    With `each` [rows] every row has a run of its own, whatever the order: a batch of mixed languages.
    """

    start: int = 0
    stop: int = 0
    each: Tensor | None = None

    @property
    def runs(self) -> int:
        """Number of selected runs; with `each` as many as rows."""
        return self.stop - self.start if self.each is None else len(self.each)

    def pick(self, values: Tensor) -> Tensor:
        """Of something that all runs have, [all runs, ...], that of the selected ones, [runs, ...]."""
        if self.each is not None:
            return values[self.each]
        return (
            values if self.runs == len(values) else values[self.start : self.stop]
        )  # a slice costs a node of autograd

    @contextmanager
    def of(self, start: int, stop: int, each: Tensor | None = None) -> Iterator[None]:
        """Select runs start..stop-1, or a run for each row, for the time of the block."""
        before = (self.start, self.stop, self.each)
        self.start, self.stop, self.each = start, stop, each
        try:
            yield
        finally:
            self.start, self.stop, self.each = before


@dataclass(frozen=True)
class Share:
    """One module's part of a stack: which of the stack's `values` it owns, by its own short names."""

    values: Mapping[str, Tensor]
    names: Mapping[str, str]
    selection: Selection


class Stacked(nn.Module):
    """Base: parameters of all runs by name, and their slice for the selected ones."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    @property
    def runs(self) -> int:
        """How many runs are selected."""
        return self.share.selection.runs

    def selected(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Short name -> parameter of the selected runs, [runs, ...], as `dtype`."""
        share = self.share
        return {short: share.selection.pick(share.values[name]).to(dtype) for short, name in share.names.items()}

    def grouped(self, rows: Tensor) -> Tensor:
        """[runs * rows, ..., d] -> [runs, everything else, d]."""
        return rows.reshape(self.runs, -1, rows.shape[-1])


Delta = Callable[[nn.Module, dict[str, Tensor], Tensor], Tensor]
"""(template module, parameters [runs, ...], hidden [runs, n, d]) -> what the delta module adds, [runs, n, d_out]."""


def _lora(template: nn.Module, p: dict[str, Tensor], hidden: Tensor) -> Tensor:
    scaling: float = template.scaling  # type: ignore[assignment]
    down = torch.bmm(hidden, p["lora_A"].mT)
    return torch.bmm(down, (p["lora_B"] * scaling).mT)  # scaling the small factor spares a pass over the output


def _adapter(template: nn.Module, p: dict[str, Tensor], hidden: Tensor) -> Tensor:
    def linear(name: str, value: Tensor) -> Tensor:
        return torch.baddbmm(p[f"modulelist.{name}.bias"].unsqueeze(1), value, p[f"modulelist.{name}.weight"].mT)

    return linear("up_proj", functional.gelu(linear("down_proj", hidden), approximate="tanh"))


def _hypercomplex(p: dict[str, Tensor], name: str, hidden: Tensor) -> Tensor:
    """Hidden times the sum of Kronecker products of the rule with the rank-one blocks (Compacter, equation 5)."""
    rule, left, right = p[f"{name}.phm_rule"], p[f"{name}.W_left"], p[f"{name}.W_right"]
    product = torch.einsum("gnac,gnkp->gakcp", rule, left @ right)
    weight = product.reshape(len(product), hidden.shape[-1], -1)
    return torch.baddbmm(p[f"{name}.b"].unsqueeze(1), hidden, weight)


def _compacter(template: nn.Module, p: dict[str, Tensor], hidden: Tensor) -> Tensor:
    return _hypercomplex(p, "up_sampler", _hypercomplex(p, "down_sampler", hidden).relu())


DELTAS: dict[str, Delta] = {"LowRankLinear": _lora, "AdapterLayer": _adapter, "HyperComplexAdapterLayer": _compacter}
"""Batched forms of OpenDelta's modules by class name."""


class StackedDelta(Stacked):
    """Stands where OpenDelta hung its delta module, with both calls OpenDelta makes: parallel and sequential."""

    def __init__(self, template: nn.Module, share: Share) -> None:
        super().__init__(share)
        self.template = [template]  # in a list: its own parameters are not ours
        self.delta = DELTAS[type(template).__name__]

    def added(self, hidden: Tensor) -> Tensor:
        """What the delta adds to the backbone's output, shaped as that output."""
        out = self.delta(self.template[0], self.selected(hidden.dtype), self.grouped(hidden))
        return out.reshape(*hidden.shape[:-1], out.shape[-1])

    def forward(self, hidden: Tensor) -> Tensor:
        """Parallel insertion (LoRA): the summand for the host's output."""
        return self.added(hidden) if self.runs else hidden.new_zeros(())

    def post_forward(self, output: Tensor) -> Tensor:
        """Sequential insertion (adapters): the host's output plus what the delta makes of it."""
        return output + self.added(output) if self.runs else output


class StackedPrompt(Stacked):
    """Soft prompts, one per run."""

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """See `SoftPrompt.forward`; without a selection nothing is inserted."""
        from xpet.methods.soft_prompt import insert

        if not self.runs:
            return embeddings, attention_mask
        prompt = self.selected(embeddings.dtype)["soft_embeddings"]
        rows = prompt.repeat_interleave(len(embeddings) // self.runs, dim=0)
        return insert(rows, embeddings, attention_mask)

    def fill(self, embeddings: Tensor, slot: Tensor) -> Tensor:
        """See `soft_prompt.fill`."""
        from xpet.methods.soft_prompt import fill

        return fill(self.selected(embeddings.dtype)["soft_embeddings"], embeddings, slot)


class StackedLayerNorm(Stacked):
    """A LayerNorm whose trained weight and/or bias exist per run."""

    def __init__(self, base: nn.LayerNorm, share: Share) -> None:
        super().__init__(share)
        self.base = base

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise the last dimension, then scale and shift with each run's own values."""
        base = self.base
        if not self.runs:
            return base(hidden)
        p = self.selected(hidden.dtype)
        if self.runs == 1:
            own = {n: p[n].squeeze(0) if n in p else getattr(base, n) for n in ("weight", "bias")}
            return functional.layer_norm(hidden, base.normalized_shape, **own, eps=base.eps)
        unit = functional.layer_norm(self.grouped(hidden), base.normalized_shape, eps=base.eps)
        weight, bias = (p[n].unsqueeze(1) if n in p else getattr(base, n).to(unit.dtype) for n in ("weight", "bias"))
        return torch.addcmul(bias, unit, weight).reshape(hidden.shape)


class StackedLinear(Stacked):
    """A Linear whose trained weight and/or bias exist per run."""

    def __init__(self, base: nn.Linear, share: Share) -> None:
        super().__init__(share)
        self.base = base

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden @ weight.T + bias` with each run's own values."""
        base, runs = self.base, self.runs
        if not runs:
            return base(hidden)
        p = self.selected(hidden.dtype)
        rows = self.grouped(hidden)
        weight = p["weight"].mT if "weight" in p else base.weight.to(rows.dtype).T.expand(runs, -1, -1)
        bias = p["bias"] if "bias" in p else base.bias.to(rows.dtype).expand(runs, -1)
        out = torch.baddbmm(bias.unsqueeze(1), rows, weight)
        return out.reshape(*hidden.shape[:-1], out.shape[-1])


OWN: dict[type[nn.Module], Callable[..., Stacked]] = {nn.LayerNorm: StackedLayerNorm, nn.Linear: StackedLinear}
"""Backbone modules whose own parameters can be trained per run."""
