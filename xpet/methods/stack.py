"""A stack: one frozen tower with the trained parameters of many runs, which share its forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from xpet.core import dropout_bits
from xpet.core.caption_packing import PackedBatch
from xpet.core.errors import ModelError
from xpet.core.transfer import fetch_all, send
from xpet.methods import embeddings
from xpet.methods.flat_values import split
from xpet.methods.stacked import Selection

TrainedTokens = Sequence[Sequence[int] | Tensor]
"""For each run the ids of the tokens whose embeddings it trains; in any order, repetitions are fine."""

Reindex = Callable[[Tensor], Tensor]
"""A tensor [runs before, n] laid out as `Stack.flat` was -> as it is now [runs now, n]; zero for new runs."""

Draw = Callable[[Sequence[int]], dict[str, Tensor]]
"""Seeds -> initial values of one new run per seed: name -> [runs, *shape]."""


class Stack:
    """Trained parameters of `runs` runs on one frozen text tower.

    Attributes:
        tower: the text tower, whose modules read `values` for the runs that are selected.
        values: name, as in the plain tower with OpenDelta attached -> parameters [runs, *shape].
        flat: one tensor [runs, n] of which all values are views, so that an optimiser step is a handful of kernels.
            Several tensors, one per value, where the parameters are the tower's own.
        draw: makes initial values of new runs.
        selection: the runs that a forward is for.
        token_table: which tokens have a row of A, where word embeddings are trained: runs train different tokens, and
            rows that a run does not use stay zero. None where they are not trained.
    """

    def __init__(self, tower: nn.Module, values: dict[str, Tensor], draw: Draw, flat: list[Tensor]) -> None:
        self.tower = tower
        self.values = values
        self.flat = flat
        self.draw = draw
        self.selection = Selection()
        self.token_table: embeddings.TokenTable | None = None
        self._loaded: dict[nn.Parameter, Tensor] = {}

    @property
    def runs(self) -> int:
        """How many runs the stack carries."""
        return len(self.flat[0])

    @property
    def trainable(self) -> int:
        """How many parameters one run trains; where runs train different numbers of embeddings, the first run."""
        unused = 0
        if self.token_table is not None:
            down = self.values[embeddings.DOWN]
            unused = (self.token_table.most - len(self.token_table.tokens[0])) * down.shape[-1]
        return sum(value[0].numel() for value in self.values.values()) - unused

    def reset(self, seeds: Sequence[int], tokens: TrainedTokens | None = None) -> None:
        """Start over with one newly initialised run per seed; the tower is not touched.

        `tokens`: for each run the ids of the tokens whose embeddings it trains.
        """
        self.reindex([], seeds, tokens)

    def reindex(self, kept: Sequence[int], seeds: Sequence[int], tokens: TrainedTokens | None = None) -> Reindex:
        """Rebuild the stack: keep runs `kept`, in this order, then append one newly initialised run per seed.

        `tokens`: for each new run the ids of the tokens whose embeddings it trains. Returns a function that re-indexes
        a tensor [runs before, n] laid out as the parameters (moments, checkpoints) the same way, zero for new runs.
        """
        before, device = {name: value.shape for name, value in self.values.items()}, self.flat[0].device
        index = send(torch.tensor(kept, dtype=torch.long), device)
        if self.token_table is not None:
            known = [self.token_table.tokens[run] for run in kept]
            self.token_table.set([*known, *(tokens if tokens is not None else [()] * len(seeds))], device)

        def reindex(flat: Tensor) -> Tensor:
            return self._reindexed(flat.detach(), before, index, len(seeds))

        self.hold(reindex(self.flat[0]), len(kept) + len(seeds))
        if seeds:
            with torch.no_grad(), self._as_loaded():
                drawn = self.draw(seeds)
                columns = [drawn[name].reshape(len(seeds), -1).to(self.flat[0].dtype) for name in self.values]
                self.flat[0][len(kept) :] = send(torch.cat(columns, dim=1), device)
        return reindex

    def _reindexed(self, flat: Tensor, shapes: Mapping[str, torch.Size], index: Tensor, more: int) -> Tensor:
        """Rows `index` [kept] of a flat tensor [runs, n] of these shapes, then `more` of zeros; A gets its new size."""
        kept = flat[index]
        if self.token_table is None:
            return torch.cat([kept, kept.new_zeros(more, flat.shape[1])])
        parts = []
        shapes = {name: torch.Size((len(index), *shape[1:])) for name, shape in shapes.items()}
        for name, old in split(kept, shapes).items():
            shape = self._shape(name, len(index) + more, old.shape)
            new = old.new_zeros(shape)
            rows = min(old.shape[1], shape[1])
            new[: len(index), :rows] = old[:, :rows]
            parts.append(new.reshape(shape[0], -1))
        return torch.cat(parts, dim=1)

    def _shape(self, name: str, runs: int, like: Sequence[int]) -> tuple[int, ...]:
        """The shape of the parameter `name` for `runs` runs; `like` is its shape for another number of runs."""
        if self.token_table is not None and name == embeddings.DOWN:
            return runs, self.token_table.most, *like[2:]
        return runs, *like[1:]

    def hold(self, flat: Tensor, runs: int) -> None:
        """Make a flat tensor [runs, n] the parameters, with all values as views of it."""
        shapes = {name: torch.Size(self._shape(name, runs, value.shape)) for name, value in self.values.items()}
        self.flat = [flat]
        self.values.update(self.selection.flat_values.hold(flat, shapes))

    def all(self) -> AbstractContextManager[None]:
        """Select every run for the time of the block: rows come run after run."""
        return self.selection.selecting(0, self.runs)

    def some(self, start: int, stop: int) -> AbstractContextManager[None]:
        """Select the runs `start` to `stop` - 1 for the time of the block."""
        return self.selection.selecting(start, stop)

    def one(self, run: int) -> AbstractContextManager[None]:
        """Select one run for the time of the block: all rows are its own."""
        return self.selection.selecting(run, run + 1)

    def each(self, runs: Sequence[int]) -> AbstractContextManager[None]:
        """Select for every row its own run, `runs` [rows], for the time of the block: a batch of mixed languages."""
        return self.selection.selecting(0, 0, torch.tensor(runs, device=self.flat[0].device))

    def bare(self) -> AbstractContextManager[None]:
        """Select no run for the time of the block: the untouched base tower."""
        return self.selection.selecting(0, 0)

    def set_dropout(self, seeds: Tensor, steps: Tensor) -> None:
        """Drop out as runs of these seeds do in these steps, both int64 [runs]; until the tower is in eval mode."""
        if not self.tower.training:
            self.tower.train()
        self.tower.dropout_source.draws = dropout_bits.draws(seeds, steps)  # type: ignore[union-attr]

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, captions: Tensor | None = None) -> Tensor:
        """Un-normalised text features [rows, d] of the selected runs, of token ids and mask [rows, length].

        `captions` [rows]: see `TextTower.forward`.
        """
        return self.tower(input_ids, attention_mask, captions)  # type: ignore[no-any-return]

    def packed(self, batch: PackedBatch) -> Tensor:
        """The same features [captions, d] of packed captions, run after run."""
        return self.tower.packed(batch)  # type: ignore[no-any-return, operator]

    def takes_sequences(self, device: torch.device, dtype: torch.dtype | None) -> bool:
        """Whether packed captions can be attended to as sequences; see `TextTower.takes_sequences`."""
        return self.tower.takes_sequences(device, dtype)  # type: ignore[no-any-return, operator]

    @property
    def inserted(self) -> int:
        """How many prompt tokens are inserted into every caption."""
        prompt = next((value for name, value in self.values.items() if name.startswith("prompt.")), None)
        return 0 if prompt is None else prompt.shape[1]

    @contextmanager
    def lowered(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Hold the frozen weights in `dtype` for the time of the block (None: as they are); trained parameters stay."""
        self._loaded = {p: p.data for p in self.tower.parameters()} if dtype is not None else {}
        for parameter, data in self._loaded.items():
            parameter.data = data.to(dtype)
        try:
            yield
        finally:
            for parameter, data in self._loaded.items():
                parameter.data = data
            self._loaded = {}

    @contextmanager
    def _as_loaded(self) -> Iterator[None]:
        """Hold the frozen weights as they were loaded, even within `lowered`: initial values depend on their type."""
        low = {p: p.data for p in self._loaded}
        for parameter, data in self._loaded.items():
            parameter.data = data
        try:
            yield
        finally:
            for parameter, data in low.items():
                parameter.data = data

    def casting(self, dtype: torch.dtype | None) -> AbstractContextManager[None]:
        """A context for forwards in `dtype`; it does nothing here, for `lowered` weights decide the type."""
        return nullcontext()

    def to(self, device: torch.device | str) -> Stack:
        """Move tower and trained parameters; returns self."""
        self.tower.to(device)
        self.hold(self.flat[0].detach().to(device), self.runs)
        if self.token_table is not None:
            self.token_table.table = self.token_table.table.to(device)
        return self

    def gradients(self) -> list[Tensor]:
        """Gradients laid out as `flat`, tensors [runs, n]; zero for parameters no loss reached."""
        return [self.selection.flat_values.gradient]

    def gradients_by_name(self) -> dict[str, Tensor]:
        """The same gradients as views [runs, *shape], by name."""
        return split(self.gradients()[0], {name: value.shape for name, value in self.values.items()})

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        self.selection.flat_values.clear()

    def state(self, run: int) -> dict[str, Tensor]:
        """Copies of one run's parameters [*shape] by name, on the CPU, with the tokens whose embeddings it trains."""
        return self.named(run, [fetch_all(flat[run]) for flat in self.flat])

    def named(self, run: int, parameters: Sequence[Tensor]) -> dict[str, Tensor]:
        """Copies by name, as those of `state`, of one run's `parameters`: [n] each on the CPU, as a row of `flat`."""
        shapes = {name: torch.Size((1, *value.shape[1:])) for name, value in self.values.items()}
        if len(parameters) == 1:
            values = split(parameters[0].unsqueeze(0), shapes)
        else:
            values = {name: part.view(shapes[name]) for name, part in zip(shapes, parameters, strict=True)}
        state = {name: value[0].clone() for name, value in values.items()}
        if self.token_table is None:
            return state
        tokens = self.token_table.tokens[run]
        return {**state, embeddings.TOKENS: tokens, embeddings.DOWN: state[embeddings.DOWN][: len(tokens)].clone()}

    def load(self, run: int, state: Mapping[str, Tensor]) -> None:
        """Give one run the parameters [*shape] of a `state` by name; raises ModelError when names or shapes differ."""
        missing, extra = self.values.keys() - state.keys(), state.keys() - self.values.keys()
        if self.token_table is not None:
            missing, extra = missing | {embeddings.TOKENS} - state.keys(), extra - {embeddings.TOKENS}
        if missing or extra:
            raise ModelError(f"delta does not fit: missing {sorted(missing)[:3]}, unexpected {sorted(extra)[:3]}")
        if self.token_table is not None:
            state = self._with_all_rows(run, state)
        with torch.no_grad():
            for name, value in self.values.items():
                if value[run].shape != state[name].shape:
                    shape, expected = tuple(state[name].shape), tuple(value[run].shape)
                    raise ModelError(f"delta does not fit: {name} is {shape}, expected {expected}")
            rows = [state[name].detach().reshape(-1) for name in self.values]
            if len(self.flat) == 1:
                rows = [torch.cat([row.to(self.flat[0].dtype) for row in rows])]
            for flat, row in zip(self.flat, rows, strict=True):
                flat[run].copy_(send(row, flat.device))

    def _with_all_rows(self, run: int, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give a run the tokens of a state; returns the state with A padded to the rows of the largest run."""
        assert self.token_table is not None
        rank = self.values[embeddings.UP].shape[1]
        embeddings.check(embeddings.split(state)[1], rank)
        tokens = [*self.token_table.tokens]
        tokens[run] = state[embeddings.TOKENS]
        before = self.token_table.most
        self.token_table.set(tokens, self.flat[0].device)
        if not torch.equal(self.token_table.tokens[run], state[embeddings.TOKENS].cpu()):
            raise ModelError("delta does not fit: expected the tokens of the word embeddings ascending, each once")
        if self.token_table.most != before:
            shapes = {name: value.shape for name, value in self.values.items()}
            index = torch.arange(self.runs, device=self.flat[0].device)
            self.hold(self._reindexed(self.flat[0].detach(), shapes, index, 0), self.runs)
        down = state[embeddings.DOWN].new_zeros(self.token_table.most, rank)
        down[: len(state[embeddings.DOWN])] = state[embeddings.DOWN]
        return {name: value for name, value in {**state, embeddings.DOWN: down}.items() if name != embeddings.TOKENS}


def flatten(initial: Mapping[str, Tensor]) -> Tensor:
    """Put initial values [runs, *shape] into one tensor [runs, n]; half precision becomes single."""
    flat = torch.cat([value.reshape(len(value), -1) for value in initial.values()], dim=1)
    return flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat
