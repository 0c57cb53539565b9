"""A stack: one frozen tower carrying the trained parameters of many runs (DESIGN: training is over a stack of runs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from xpet.core import dropout_bits
from xpet.core.caption_packing import PackedBatch
from xpet.core.errors import ModelError
from xpet.methods import embeddings
from xpet.methods.stacked import Selection

Tokens = Sequence[Sequence[int] | Tensor]
"""For each run the ids of the tokens whose embeddings are trained; any order, repetitions are fine."""

Reindex = Callable[[Tensor], Tensor]
"""See `xpet.training.stacklike.Reindex`."""

Draw = Callable[[Sequence[int]], dict[str, Tensor]]
"""Seeds -> initial values of one run per seed, [runs, *shape] by name."""


class Stack:
    """Trained parameters of `runs` runs on one frozen text tower.

    `values[name]` is [runs, *shape]; for stackable methods all are views into one flat [runs, parameters] tensor, so
    that an optimiser step is a handful of kernels. `names` are those of the plain tower with OpenDelta attached.
    `words` says which tokens have a row where word embeddings are trained: runs have different ones, and the rows
    of `values` that a run does not use stay zero.
    """

    def __init__(self, tower: nn.Module, values: dict[str, Tensor], draw: Draw, flat: list[Tensor]) -> None:
        self.tower = tower
        self.values = values
        self.flat = flat
        self.draw = draw
        self.selection = Selection()
        self.words: embeddings.TokenTable | None = None
        self._loaded: dict[nn.Parameter, Tensor] = {}

    @property
    def runs(self) -> int:
        """How many runs the stack carries."""
        return len(self.flat[0])

    @property
    def trainable(self) -> int:
        """Trained parameters of one run, of the first one where runs train different numbers of embeddings."""
        unused = 0
        if self.words is not None:
            down = self.values[embeddings.DOWN]
            unused = (self.words.most - len(self.words.tokens[0])) * down.shape[-1]
        return sum(value[0].numel() for value in self.values.values()) - unused

    def reset(self, seeds: Sequence[int], tokens: Tokens | None = None) -> None:
        """Start over with one run per seed, freshly drawn; the tower is not touched.

        `tokens` are each run's own, where word embeddings are trained.
        """
        self.reindex([], seeds, tokens)

    def reindex(self, kept: Sequence[int], seeds: Sequence[int], tokens: Tokens | None = None) -> Reindex:
        """Keep these runs, in this order, and add one freshly drawn run per seed behind them.

        Returns what does the same to something laid out as the parameters were (moments, checkpoints), with zeros for
        the new runs.
        """
        before = {name: value.shape for name, value in self.values.items()}
        if self.words is not None:
            mine = [self.words.tokens[run] for run in kept]
            self.words.set([*mine, *(tokens if tokens is not None else [()] * len(seeds))], self.flat[0].device)

        def reindex(flat: Tensor) -> Tensor:
            return self._laid_out(flat.detach(), before, kept, len(seeds))

        self._hold(reindex(self.flat[0]), len(kept) + len(seeds))
        if seeds:
            with torch.no_grad(), self._as_loaded():
                for name, value in self.draw(seeds).items():
                    self.values[name][len(kept) :] = value.to(self.flat[0].device)
        return reindex

    def _laid_out(self, flat: Tensor, shapes: Mapping[str, torch.Size], kept: Sequence[int], more: int) -> Tensor:
        """The kept rows of a flat tensor of these shapes and `more` of zeros, with room for the words there are."""
        index = torch.tensor(kept, dtype=torch.long, device=flat.device)
        parts = []
        for name, value in _split(flat, shapes).items():
            old = value[index]
            shape = self._shape(name, len(kept) + more, old.shape)
            new = old.new_zeros(shape)
            rows = min(old.shape[1], shape[1])
            new[: len(kept), :rows] = old[:, :rows]
            parts.append(new.reshape(shape[0], -1))
        return torch.cat(parts, dim=1)

    def _shape(self, name: str, runs: int, like: Sequence[int]) -> tuple[int, ...]:
        """The shape of something trained for so many runs."""
        if self.words is not None and name == embeddings.DOWN:
            return runs, self.words.most, *like[2:]
        return runs, *like[1:]

    def _hold(self, flat: Tensor, runs: int) -> None:
        """Take over all values from a flat tensor."""
        shapes = {name: torch.Size(self._shape(name, runs, value.shape)) for name, value in self.values.items()}
        self.flat = [flat]
        self.values.update(_views(flat, shapes))

    def all(self) -> AbstractContextManager[None]:
        """Select every run: rows come run-major."""
        return self.selection.of(0, self.runs)

    def some(self, start: int, stop: int) -> AbstractContextManager[None]:
        """Select the runs from `start` to before `stop`."""
        return self.selection.of(start, stop)

    def one(self, run: int) -> AbstractContextManager[None]:
        """Select one run: all rows are its own."""
        return self.selection.of(run, run + 1)

    def each(self, runs: Sequence[int]) -> AbstractContextManager[None]:
        """Select a run for every row: a batch of mixed languages, in any order."""
        return self.selection.of(0, 0, torch.tensor(runs, device=self.flat[0].device))

    def bare(self) -> AbstractContextManager[None]:
        """Select nothing: the untouched base tower."""
        return self.selection.of(0, 0)

    def drop(self, seeds: Tensor, steps: Tensor) -> None:
        """Dropout as these runs' steps have it, both int64 [runs], until the tower is put into eval mode."""
        if not self.tower.training:
            self.tower.train()
        self.tower.source.draws = dropout_bits.draws(seeds, steps)  # type: ignore[union-attr]

    def __call__(self, input_ids: Tensor, attention_mask: Tensor, captions: Tensor | None = None) -> Tensor:
        """Un-normalised text features [rows, dimensions] with the current selection (see `TextTower.forward`)."""
        return self.tower(input_ids, attention_mask, captions)  # type: ignore[no-any-return]

    def packed(self, batch: PackedBatch) -> Tensor:
        """The same [captions, dimensions] of packed captions, run-major where several runs are selected."""
        return self.tower.packed(batch)  # type: ignore[no-any-return, operator]

    @property
    def inserted(self) -> int:
        """Prompt tokens that stand in every caption."""
        prompt = next((value for name, value in self.values.items() if name.startswith("prompt.")), None)
        return 0 if prompt is None else prompt.shape[1]

    @contextmanager
    def lowered(self, dtype: torch.dtype | None) -> Iterator[None]:
        """The frozen weights in `dtype` for the time of the block (None: as they are); what is trained stays."""
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
        """The frozen weights as they were loaded, even while `lowered`: initial values are drawn beside these."""
        low = {p: p.data for p in self._loaded}
        for parameter, data in self._loaded.items():
            parameter.data = data
        try:
            yield
        finally:
            for parameter, data in low.items():
                parameter.data = data

    def casting(self, dtype: torch.dtype | None) -> AbstractContextManager[None]:
        """A forward in `dtype` with `lowered` weights: they decide it themselves."""
        return nullcontext()

    def to(self, device: torch.device | str) -> Stack:
        """Move tower and trained parameters; returns self."""
        self.tower.to(device)
        self.flat = [self.flat[0].detach().to(device)]
        self.values.update(_views(self.flat[0], {name: value.shape for name, value in self.values.items()}))
        if self.words is not None:
            self.words.table = self.words.table.to(device)
        return self

    def gradients(self) -> list[Tensor]:
        """Gradients laid out as `flat`; parameters no loss reached have zeros."""
        parts = []
        for value in self.values.values():
            gradient = value.grad if value.grad is not None else torch.zeros_like(value)
            parts.append(gradient.reshape(self.runs, -1))
        return [torch.cat(parts, dim=1)] if len(self.flat) == 1 else parts

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        for value in self.values.values():
            value.grad = None

    def state(self, run: int) -> dict[str, Tensor]:
        """Copies of one run's parameters by plain name, on the CPU, and the tokens whose embeddings are trained."""
        state = {name: value[run].detach().cpu().clone() for name, value in self.values.items()}
        if self.words is None:
            return state
        tokens = self.words.tokens[run]
        return {**state, embeddings.TOKENS: tokens, embeddings.DOWN: state[embeddings.DOWN][: len(tokens)].clone()}

    def load(self, run: int, state: Mapping[str, Tensor]) -> None:
        """Give one run the parameters of a state; raises ModelError when names or shapes differ."""
        missing, extra = self.values.keys() - state.keys(), state.keys() - self.values.keys()
        if self.words is not None:
            missing, extra = missing | {embeddings.TOKENS} - state.keys(), extra - {embeddings.TOKENS}
        if missing or extra:
            raise ModelError(f"delta does not fit: missing {sorted(missing)[:3]}, unexpected {sorted(extra)[:3]}")
        if self.words is not None:
            state = self._seated(run, state)
        with torch.no_grad():
            for name, value in self.values.items():
                if value[run].shape != state[name].shape:
                    found, wanted = tuple(state[name].shape), tuple(value[run].shape)
                    raise ModelError(f"delta does not fit: {name} is {found}, expected {wanted}")
                value[run].copy_(state[name])

    def _seated(self, run: int, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Give a run the tokens of a state, and return the state with A padded to the rows there are then."""
        assert self.words is not None
        rank = self.values[embeddings.UP].shape[1]
        embeddings.check(embeddings.split(state)[1], rank)
        tokens = [*self.words.tokens]
        tokens[run] = state[embeddings.TOKENS]
        before = self.words.most
        self.words.set(tokens, self.flat[0].device)
        if not torch.equal(self.words.tokens[run], state[embeddings.TOKENS].cpu()):
            raise ModelError("delta does not fit: expected the tokens of the word embeddings ascending, each once")
        if self.words.most != before:
            shapes = {name: value.shape for name, value in self.values.items()}
            self._hold(self._laid_out(self.flat[0].detach(), shapes, range(self.runs), 0), self.runs)
        down = state[embeddings.DOWN].new_zeros(self.words.most, rank)
        down[: len(state[embeddings.DOWN])] = state[embeddings.DOWN]
        return {name: value for name, value in {**state, embeddings.DOWN: down}.items() if name != embeddings.TOKENS}


def flatten(initial: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """One [runs, parameters] tensor and, per name, a leaf that is a view into it."""
    flat = torch.cat([value.reshape(len(value), -1) for value in initial.values()], dim=1)
    if flat.dtype in (torch.bfloat16, torch.float16):
        flat = flat.float()
    return flat, _views(flat, {name: value.shape for name, value in initial.items()})


def _views(flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    return {name: view.requires_grad_() for name, view in _split(flat, shapes).items()}


def _split(flat: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Views [runs, *shape] of a flat tensor, by name."""
    parts, place = {}, 0
    for name, shape in shapes.items():
        size = shape[1:].numel()
        parts[name] = flat[:, place : place + size].view(shape)
        place += size
    return parts
