"""A stack: one frozen tower carrying the trained parameters of many runs (DESIGN: training is over a stack of runs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn

from xpet.core.config import MethodConfig
from xpet.core.errors import ModelError
from xpet.core.packing import Packed
from xpet.methods import embeddings
from xpet.methods.bridge import DeltaSite
from xpet.methods.stacked import OWN, Selection, Share, Stacked, StackedDelta, StackedPrompt
from xpet.methods.table import find_method

PARTS = {"layernorm": "output.LayerNorm", "head": "LinearTransformation", "pooler": "transformer.pooler.dense"}
"""`--train` part -> ending of the names of the modules it covers (not the embeddings' LayerNorm).

`embeddings` is no part of the tower's own: see `xpet.methods.embeddings`.
"""

Tokens = Sequence[Sequence[int] | Tensor]
"""For each run the ids of the tokens whose embeddings are trained; any order, repetitions are fine."""

Move = Callable[[Tensor], Tensor]
"""See `xpet.training.stacklike.Move`."""

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
        self.words: embeddings.TokenRows | None = None
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
        self.exchange([], seeds, tokens)

    def exchange(self, kept: Sequence[int], seeds: Sequence[int], tokens: Tokens | None = None) -> Move:
        """Keep these runs, in this order, and add one freshly drawn run per seed behind them.

        Returns what does the same to something laid out as the parameters were (moments, checkpoints), with zeros for
        the new runs.
        """
        before = {name: value.shape for name, value in self.values.items()}
        if self.words is not None:
            mine = [self.words.tokens[run] for run in kept]
            self.words.set([*mine, *(tokens if tokens is not None else [()] * len(seeds))], self.flat[0].device)

        def move(flat: Tensor) -> Tensor:
            return self._laid_out(flat.detach(), before, kept, len(seeds))

        self._hold(move(self.flat[0]), len(kept) + len(seeds))
        if seeds:
            with torch.no_grad(), self._as_loaded():
                for name, value in self.draw(seeds).items():
                    self.values[name][len(kept) :] = value.to(self.flat[0].device)
        return move

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

    def __call__(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Un-normalised text features [rows, dimensions] with the current selection."""
        return self.tower(input_ids, attention_mask)  # type: ignore[no-any-return]

    def packed(self, batch: Packed) -> Tensor:
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


class PlainStack(Stack):
    """A stack of one whose parameters are the tower's own (full fine-tuning); the base values are kept for `bare`."""

    def __init__(self, tower: nn.Module, parameters: dict[str, nn.Parameter]) -> None:
        self.own = parameters
        views = {name: p.data.unsqueeze(0) for name, p in parameters.items()}
        super().__init__(tower, views, lambda seeds: self._originals, [v.reshape(1, -1) for v in views.values()])
        self._originals = {name: p.data.clone() for name, p in parameters.items()}

    def exchange(self, kept: Sequence[int], seeds: Sequence[int], tokens: Tokens | None = None) -> Move:
        """Write the base values back; a full tower has nothing to draw, and room for one."""
        if kept or len(seeds) != 1:
            raise ModelError(f"full fine-tuning cannot be stacked: expected 1 run, found {len(kept) + len(seeds)}")
        self._write(self._originals)
        return torch.zeros_like

    def to(self, device: torch.device | str) -> Stack:
        """Move the tower with its parameters; returns self."""
        self.tower.to(device)
        self.values.update({name: p.data.unsqueeze(0) for name, p in self.own.items()})
        self.flat = [value.reshape(1, -1) for value in self.values.values()]
        self._originals = {name: value.to(device) for name, value in self._originals.items()}
        return self

    def gradients(self) -> list[Tensor]:
        """Gradients of the tower's own parameters, each [1, n]."""
        return [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(1, -1) for p in self.own.values()]

    def clear_gradients(self) -> None:
        """Forget all gradients."""
        for parameter in self.own.values():
            parameter.grad = None

    @contextmanager
    def lowered(self, dtype: torch.dtype | None) -> Iterator[None]:
        """Nothing is frozen here."""
        yield

    def casting(self, dtype: torch.dtype | None) -> AbstractContextManager[None]:
        """Autocast: the weights stay in single precision."""
        device = next(self.tower.parameters()).device.type
        return torch.autocast(device, dtype=dtype) if dtype is not None else nullcontext()  # type: ignore[return-value]

    @contextmanager
    def bare(self) -> Iterator[None]:
        """The base tower: its values are swapped in for the time of the block."""
        trained = {name: p.data.clone() for name, p in self.own.items()}
        self._write(self._originals)
        try:
            yield
        finally:
            self._write(trained)

    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.own.items():
            parameter.data.copy_(values[name])


def build_stack(tower: nn.Module, config: MethodConfig, seeds: Sequence[int], tokens: Tokens | None = None) -> Stack:
    """Attach a method to a freshly loaded tower with one run per seed (the seeds draw the initial values).

    `tokens` are each run's own, where word embeddings are trained; without them no embedding is changed until others
    come by `Stack.reset` or `Stack.load`. The tower is changed for good: never attach twice, never deepcopy it. Raises
    ConfigError, ModelError.
    """
    method = find_method(config)
    tower.eval().requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds[0])
        sites = method.attach(tower, config, config.modules or method.modules)
    parts = config.train if config.train is not None else method.train
    own = _own_parameters(tower, sites, [part for part in parts if part != embeddings.PART])
    if not method.stackable:
        if len(seeds) > 1:
            raise ModelError(f"{method.name} cannot be stacked: expected 1 run, found {len(seeds)}")
        return PlainStack(tower, {f"{path}.{name}": p for path, names in own.items() for name, p in names.items()})

    words = embeddings.TokenRows() if embeddings.PART in parts else None
    base = tower.get_submodule(embeddings.WORDS) if words is not None else None

    def draw(seeds: Sequence[int]) -> dict[str, Tensor]:
        initial = _initial(sites, own, seeds)
        return initial if words is None else {**initial, **_initial_words(base, words, config.embedding_rank, seeds)}

    if words is not None:
        words.set([()] * len(seeds) if tokens is None else tokens, "cpu")
    flat, values = _flatten(draw(seeds))
    stack = Stack(tower, values, draw, [flat])
    stack.words = words
    _install(tower, sites, own, values, stack.selection)
    if words is not None:
        _install_words(tower, values, stack.selection, words)
    return stack


def total_parameters(tower: nn.Module) -> int:
    """Parameters of a bare tower, the denominator of the trainable share."""
    return sum(p.numel() for p in tower.parameters())


def _own_parameters(
    tower: nn.Module, sites: Sequence[DeltaSite], parts: Sequence[str]
) -> dict[str, dict[str, nn.Parameter]]:
    """Module path -> its own parameters to train: those a method unfroze and those of the parts asked for."""
    inside = {id(p) for site in sites for p in site.module.parameters()}
    endings = tuple(PARTS[part] for part in parts)
    found: dict[str, dict[str, nn.Parameter]] = {}
    for path, module in tower.named_modules():
        wanted = any(path == e or path.endswith("." + e) for e in endings)
        chosen = {
            name: p
            for name, p in module.named_parameters(recurse=False)
            if id(p) not in inside and (wanted or p.requires_grad)
        }
        if chosen:
            found[path] = chosen
    for part in parts:
        if not any(path == PARTS[part] or path.endswith("." + PARTS[part]) for path in found):
            raise ModelError(f"nothing to train as '{part}': expected modules {PARTS[part]} in the tower, found none")
    return found


def _site_name(site: DeltaSite) -> str:
    return site.path if site.path == "prompt" else f"transformer.{site.path}"


def _initial(
    sites: Sequence[DeltaSite], own: Mapping[str, Mapping[str, nn.Parameter]], seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Name -> initial values [runs, *shape]; each seed draws what a fresh attach under it would draw."""
    columns: dict[str, list[Tensor]] = {}
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for site in sites:
                for name, value in site.fresh().named_parameters():
                    columns.setdefault(f"{_site_name(site)}.{name}", []).append(value.detach())
        for path, names in own.items():
            for name, parameter in names.items():
                device = "meta" if parameter.is_meta else "cpu"
                columns.setdefault(f"{path}.{name}", []).append(parameter.detach().to(device))
    return {name: torch.stack(values) for name, values in columns.items()}


def _initial_words(
    base: nn.Module | None, words: embeddings.TokenRows, rank: int, seeds: Sequence[int]
) -> dict[str, Tensor]:
    """A, zero, and B [runs, rank, hidden], drawn at the scale of the base's embeddings from each seed alone."""
    assert base is not None
    weight: Tensor = base.weight  # type: ignore[assignment]
    scale = embeddings.scale_of(base)
    drawn = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        drawn.append(torch.randn(rank, weight.shape[1], generator=generator, dtype=torch.float64) * scale)
    dtype = torch.float32 if weight.dtype in (torch.bfloat16, torch.float16) else weight.dtype
    return {
        embeddings.DOWN: torch.zeros(len(seeds), words.most, rank, dtype=dtype),
        embeddings.UP: torch.stack(drawn).to(dtype),
    }


def _install_words(
    tower: nn.Module, values: Mapping[str, Tensor], selection: Selection, words: embeddings.TokenRows
) -> None:
    """Put the embeddings with deltas where the plain ones were."""
    parent, _, child = embeddings.WORDS.rpartition(".")
    share = Share(values, {"delta_A": embeddings.DOWN, "delta_B": embeddings.UP}, selection)
    setattr(
        tower.get_submodule(parent), child,
        embeddings.StackedEmbedding(tower.get_submodule(embeddings.WORDS), share, words),
    )  # fmt: skip


def _flatten(initial: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
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


def _install(
    tower: nn.Module,
    sites: Sequence[DeltaSite],
    own: Mapping[str, Mapping[str, nn.Parameter]],
    values: Mapping[str, Tensor],
    selection: Selection,
) -> None:
    """Put the group-aware modules where the plain ones were."""
    for site in sites:
        prefix = _site_name(site) + "."
        share = Share(values, {n.removeprefix(prefix): n for n in values if n.startswith(prefix)}, selection)
        stacked: Stacked = StackedPrompt(share) if site.path == "prompt" else StackedDelta(site.module, share)
        setattr(site.host, site.name, stacked)
    for path, names in own.items():
        parent, _, child = path.rpartition(".")
        module = tower.get_submodule(path)
        share = Share(values, {name: f"{path}.{name}" for name in names}, selection)
        setattr(tower.get_submodule(parent), child, OWN[type(module)](module, share))
    tower.requires_grad_(False)
