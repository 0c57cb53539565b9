"""Frozen configurations: what the command line, a test or Python hands to a job."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from xpet.core.choices import LOSS_NAMES, METHOD_NAMES, UNSUPPORTED_METHODS
from xpet.core.errors import ConfigError, unknown
from xpet.core.routines import find_routine

TRAIN_PARTS = ("layernorm", "head", "pooler")
SELECTORS = ("mrr", "loss", "r1")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class MethodConfig:
    """A PET method and its settings. `modules` None means the method's own choice; see `xpet.methods.METHODS`."""

    name: str = "lora"
    rank: int = 8
    alpha: float = 16.0
    bottleneck: int = 24
    reduction: int = 16
    tokens: int = 4
    prompt: str | None = None
    modules: tuple[str, ...] | None = None
    train: tuple[str, ...] | None = None

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found = [
            f"{name} must be positive, found {value}"
            for name, value in (
                ("rank", self.rank), ("alpha", self.alpha), ("bottleneck", self.bottleneck),
                ("reduction", self.reduction), ("tokens", self.tokens),
            )
            if value <= 0
        ]  # fmt: skip
        if self.name in UNSUPPORTED_METHODS:
            found.append(f"method '{self.name}' is not supported: {UNSUPPORTED_METHODS[self.name]}")
        elif self.name not in METHOD_NAMES:
            found.append(unknown("method", self.name, METHOD_NAMES))
        found += [unknown("part to train", part, TRAIN_PARTS) for part in self.train or () if part not in TRAIN_PARTS]
        return found


@dataclass(frozen=True)
class RunConfig:
    """What may differ between runs of one stack."""

    language: str
    routine: str = "routine3"
    loss: str = "mse"
    align_weight: float = 0.1
    learning_rate: float = 1e-3
    seed: int = 1

    @property
    def label(self) -> str:
        """Folder name of the run inside a sweep."""
        weight, rate = f"{self.align_weight:g}", f"{self.learning_rate:g}"
        return f"{self.language}-{self.routine}-{self.loss}-w{weight}-lr{rate}-seed{self.seed}"


@dataclass(frozen=True)
class FitConfig:
    """How every run of a stack is trained (SPEC section 6)."""

    batch_size: int = 20
    epochs: int = 30
    steps: int | None = None
    validate_every: int = 20
    select: str = "mrr"
    latest_tie_wins: bool = False
    include_start: bool = True
    dropout: str = "off"
    device: str = "auto"
    precision: str = "auto"
    stack: int | None = None

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found = [
            f"{name} must be at least 1, found {value}"
            for name, value in (
                ("batch size", self.batch_size), ("epochs", self.epochs), ("steps", self.steps),
                ("validate-every", self.validate_every), ("stack", self.stack),
            )
            if value is not None and value < 1
        ]  # fmt: skip
        for what, value, known in (
            ("selection rule", self.select, SELECTORS), ("dropout", self.dropout, ("off", "model")),
            ("device", self.device, DEVICES), ("precision", self.precision, PRECISIONS),
        ):  # fmt: skip
            if value not in known:
                found.append(unknown(what, value, known))
        if self.batch_size == 1:
            found.append("batch size 1 leaves a contrastive loss nothing to tell apart: expected at least 2")
        return found


@dataclass(frozen=True)
class DataConfig:
    """Which captions and pictures. `root` is `--data-root`; `image_features` a file of the user's own features."""

    name: str = "demo"
    root: str | None = None
    variant: str | None = None
    shots: int | None = None
    val_shots: int | None = None
    split_seed: int = 42
    split_file: str | None = None
    image_features: str | None = None


@dataclass(frozen=True)
class ModelConfig:
    """Which towers: names on the hub or local folders; `image` None means the partner the text tower names."""

    text: str = "demo"
    image: str | None = None


@dataclass(frozen=True)
class AlignConfig:
    """Everything `xpet align` needs. Tuple fields are swept: their product is trained side by side."""

    languages: tuple[str, ...]
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=lambda: DataConfig(shots=100))
    method: MethodConfig = field(default_factory=MethodConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    routines: tuple[str, ...] = ("routine3",)
    losses: tuple[str, ...] = ("mse",)
    align_weights: tuple[float, ...] = (0.1,)
    learning_rates: tuple[float, ...] = (1e-3,)
    seeds: tuple[int, ...] = (1,)
    out: str | None = None
    overwrite: bool = False

    def runs(self) -> Iterator[RunConfig]:
        """The product of everything that varies, languages outermost.

        A routine without an alignment loss is not repeated for every loss and weight.
        """
        seen = set()
        axes = (self.languages, self.routines, self.losses, self.align_weights, self.learning_rates, self.seeds)
        for language, routine, loss, weight, rate, seed in itertools.product(*axes):
            found = find_routine(routine)
            if found.anchor is None:
                loss, weight = self.losses[0], 0.0
            run = RunConfig(language, found.name, loss, weight, rate, seed)
            if run not in seen:
                seen.add(run)
                yield run

    def check(self) -> AlignConfig:
        """Self with full routine names; raises ConfigError with every problem found, before anything is loaded."""
        problems = [*self.method.problems(), *self.fit.problems()]
        for name in self.routines:
            try:
                find_routine(name)
            except ConfigError as error:
                problems.extend(error.problems)
        problems += [unknown("loss", name, LOSS_NAMES) for name in self.losses if name not in LOSS_NAMES]
        rates, weights = self.learning_rates, self.align_weights
        problems += [f"learning rate must be positive, found {r:g}" for r in rates if not 0 < r < math.inf]
        problems += [f"align weight must not be negative, found {w:g}" for w in weights if not 0 <= w < math.inf]
        if not self.languages:
            problems.append("expected at least one language, found none")
        shots = self.data.shots
        if shots is not None and shots < 2:
            problems.append(f"shots must be at least 2, found {shots}")
        if self.data.val_shots is not None and self.data.val_shots < 2:
            problems.append(f"validation shots must be at least 2, found {self.data.val_shots}")
        if problems:
            raise ConfigError(*problems)
        return replace(self, routines=tuple(find_routine(name).name for name in self.routines))


@dataclass(frozen=True)
class EvalConfig:
    """Everything `xpet eval` needs: run folders (none: zero-shot only), data, model and what to do.

    `model` None means the demo, or with runs the base they were trained on.
    """

    runs: tuple[str, ...] = ()
    languages: tuple[str, ...] | None = None
    model: ModelConfig | None = None
    data: DataConfig = field(default_factory=DataConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    lint_only: bool = False


@dataclass(frozen=True)
class TranslateConfig:
    """Everything `xpet translate` needs. `file` None is standard input, `out` None standard output.

    `column` and `into` are for tables and JSON lines: what is translated, and where the translation goes.
    """

    source: str
    target: str
    file: str | None = None
    out: str | None = None
    column: str | None = None
    into: str | None = None
    fast: bool = False
    device: str = "auto"


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON-ready values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
