"""Modules that hold one set of parameters per run, [runs, ...], on a frozen backbone that all runs share.

Rows come run after run: with runs a to b selected, [runs * rows, length, hidden] holds the `rows` rows of run a first.
With no run selected every module computes what the untouched backbone does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.core.kernels.residual_norm import norm_of_sum
from xpet.methods.base import Behind, Beside
from xpet.methods.flat_values import FlatValues


@dataclass
class Selection:
    """Which runs the rows of the present forward belong to: `start` to `stop` - 1; none of them is the bare backbone.

    With `each` [rows] it is the run of every row, in any order: a batch of mixed languages. `flat_values` are the
    parameters of all runs.
    """

    start: int = 0
    stop: int = 0
    each: Tensor | None = None
    flat_values: FlatValues = field(default_factory=FlatValues)

    @property
    def runs(self) -> int:
        """Number of selected runs; with `each` as many as rows."""
        return self.stop - self.start if self.each is None else len(self.each)

    def pick(self, values: Tensor) -> Tensor:
        """The selected runs' part [runs, ...] of values that all runs have [all runs, ...]."""
        if self.each is not None:
            return values[self.each]
        if self.runs == len(values):
            return values  # a slice costs a node of autograd
        return values[self.start : self.stop]

    @contextmanager
    def selecting(self, start: int, stop: int, each: Tensor | None = None) -> Iterator[None]:
        """Select runs `start` to `stop` - 1, or `each` row's own run [rows], for the time of the block."""
        before = (self.start, self.stop, self.each)
        self.start, self.stop, self.each = start, stop, each
        try:
            yield
        finally:
            self.start, self.stop, self.each = before
            self.flat_values.forget()


@dataclass(frozen=True)
class Share:
    """The parameters of a stack that one module uses.

    Attributes:
        values: all parameters of the stack by name, each [all runs, ...].
        names: the module's own short names of those it uses -> their names in `values`.
        selection: which runs the present forward is for.
    """

    values: Mapping[str, Tensor]
    names: Mapping[str, str]
    selection: Selection


class Stacked(nn.Module):
    """Base of the modules with parameters for every run, of which a forward uses those of the selected runs."""

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    @property
    def runs(self) -> int:
        """How many runs are selected."""
        return self.share.selection.runs

    def selected(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Short name -> parameter [runs, ...] of the selected runs, as `dtype`."""
        share, selection = self.share, self.share.selection
        if selection.each is None:
            values = selection.flat_values.read(selection.start, selection.stop, dtype)
            return {short: values[name] for short, name in share.names.items()}
        return {short: selection.pick(share.values[name]).to(dtype) for short, name in share.names.items()}

    def grouped(self, rows: Tensor) -> Tensor:
        """Group rows [runs * rows, ..., d] by run: [runs, everything else, d]."""
        return rows.reshape(self.runs, -1, rows.shape[-1])


class StackedDelta(Stacked):
    """Takes the place of OpenDelta's delta module behind a host: in its sequential insertion."""

    def __init__(self, module: nn.Module, behind: Behind, share: Share) -> None:
        super().__init__(share)
        self.module = [module]  # in a list, so that its own parameters do not become parameters of this module
        self.behind = behind

    def post_forward(self, output: Tensor) -> Tensor:
        """The host's output [rows, length, d] plus the delta's output of it; OpenDelta calls it."""
        return self.behind(self.module[0], self.selected(output.dtype), output) if self.runs else output


class StackedBeside(Stacked):
    """Takes the place of OpenDelta's delta module beside a linear layer, which it computes together with the delta."""

    def __init__(self, module: nn.Module, beside: Beside, host: nn.Linear, share: Share) -> None:
        super().__init__(share)
        self.parts = [module, host]  # in a list, for the host has this module as a part
        self.beside = beside
        host.forward = self.of_host  # type: ignore[method-assign, assignment]

    def of_host(self, hidden: Tensor) -> Tensor:
        """The host's output [rows, length, d_out] with what the delta adds, of hidden states [rows, length, d]."""
        module, host = self.parts
        if not self.runs:
            return functional.linear(hidden, host.weight, host.bias)  # type: ignore[arg-type]
        return self.beside(host, module, self.selected(hidden.dtype), hidden)  # type: ignore[arg-type]


class StackedPrompt(Stacked):
    """Soft prompts, one per run."""

    def forward(self, embeddings: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Insert each run's prompt into embeddings [rows, length, hidden] and the mask [rows, length] (`SoftPrompt`).

        Without a selection nothing is inserted.
        """
        from xpet.methods.soft_prompt import insert

        if not self.runs:
            return embeddings, attention_mask
        prompt = self.selected(embeddings.dtype)["soft_embeddings"]
        rows = prompt.repeat_interleave(len(embeddings) // self.runs, dim=0)
        return insert(rows, embeddings, attention_mask)

    def fill(self, embeddings: Tensor, prompt_index: Tensor) -> Tensor:
        """Put each run's prompt into packed embeddings [lines, length, hidden]; `prompt_index` [lines, length].

        See `xpet.methods.soft_prompt.fill`.
        """
        from xpet.methods.soft_prompt import fill

        return fill(self.selected(embeddings.dtype)["soft_embeddings"], embeddings, prompt_index)


class StackedLayerNorm(Stacked):
    """A LayerNorm whose trained weight and/or bias exist per run."""

    def __init__(self, base: nn.LayerNorm, share: Share) -> None:
        super().__init__(share)
        self.base = base

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise hidden states [..., d] over d, then scale and shift them with each run's own values."""
        base = self.base
        if not self.runs:
            return base(hidden)
        p = self.selected(hidden.dtype)
        if self.runs == 1:
            affine = {n: p[n].squeeze(0) if n in p else getattr(base, n) for n in ("weight", "bias")}
            return functional.layer_norm(hidden, base.normalized_shape, **affine, eps=base.eps)
        unit = functional.layer_norm(self.grouped(hidden), base.normalized_shape, eps=base.eps)
        weight, bias = (p[n].unsqueeze(1) if n in p else getattr(base, n).to(unit.dtype) for n in ("weight", "bias"))
        return torch.addcmul(bias, unit, weight).reshape(hidden.shape)

    def of_sum(self, output: Tensor, residual: Tensor) -> Tensor:
        """The same of the sum of two tensors [rows, length, d]."""
        base, runs = self.base, self.runs
        if not runs:
            return norm_of_sum(output, residual, base.weight.unsqueeze(0), base.bias.unsqueeze(0), base.eps)
        p = self.selected(output.dtype)
        weight, bias = (p[n] if n in p else getattr(base, n).expand(runs, -1) for n in ("weight", "bias"))
        return norm_of_sum(output, residual, weight, bias, base.eps)


class StackedLinear(Stacked):
    """A Linear whose trained weight and/or bias exist per run."""

    def __init__(self, base: nn.Linear, share: Share) -> None:
        super().__init__(share)
        self.base = base

    def forward(self, hidden: Tensor) -> Tensor:
        """`hidden W^T + b`, [..., d_out], of hidden states [..., d_in] with each run's own values."""
        base, runs = self.base, self.runs
        if not runs:
            return base(hidden)
        p = self.selected(hidden.dtype)
        rows = self.grouped(hidden)
        weight = p["weight"].mT if "weight" in p else base.weight.to(rows.dtype).T.expand(runs, -1, -1)
        if base.bias is None:
            out = torch.bmm(rows, weight)
        else:
            bias = p["bias"] if "bias" in p else base.bias.to(rows.dtype).expand(runs, -1)
            out = torch.baddbmm(bias.unsqueeze(1), rows, weight)
        return out.reshape(*hidden.shape[:-1], out.shape[-1])


TRAINABLE: dict[type[nn.Module], Callable[..., Stacked]] = {nn.LayerNorm: StackedLayerNorm, nn.Linear: StackedLinear}
"""Kinds of backbone modules whose parameters can be trained per run -> what takes their place."""
