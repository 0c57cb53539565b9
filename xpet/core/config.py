"""Frozen configurations: what the command line, a test or Python hands to a job."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from xpet.core.choices import DEFAULT_WEIGHTS, LOSS_NAMES, METHOD_NAMES, UNSUPPORTED_METHODS
from xpet.core.errors import ConfigError, unknown
from xpet.core.groups import GROUPINGS
from xpet.core.prompts import parse
from xpet.core.routines import find_routine

TRAIN_PARTS = ("layernorm", "head", "pooler")
SELECTORS = ("mrr", "loss", "r1")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("fp32", "fp16", "bf16")
TEXTS = {"target": "target", "to-pivot": "to_pivot", "from-pivot": "from_pivot", "pivot": "pivot"}
"""Values of `--text`, each with its slot."""
RESULT = ".json"
"""How the name of a stored result of `xpet eval` ends."""
DIRECTIONS = {"to-pivot": ("to_pivot",), "from-pivot": ("from_pivot",), "both": ("to_pivot", "from_pivot")}
"""Values of `--direction`, each with the slots it makes."""


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
    learning_rate: float = 5e-4
    seed: int = 1

    @property
    def label(self) -> str:
        """Folder name of the run inside a sweep."""
        weight, rate = float(self.align_weight), float(self.learning_rate)
        return f"{self.language}-{self.routine}-{self.loss}-w{weight}-lr{rate}-seed{self.seed}"


@dataclass(frozen=True)
class FitConfig:
    """How every run of a stack is trained (SPEC section 6).

    Without `steps` a run takes `epochs`, but no more than `most_steps`; without `validate_every` it validates every
    20 steps, or 50 times in all.
    """

    batch_size: int = 20
    epochs: int = 40
    steps: int | None = None
    most_steps: int | None = 2000
    validate_every: int | None = None
    select: str = "loss"
    latest_tie_wins: bool = False
    include_start: bool = True
    dropout: str = "off"
    device: str = "auto"
    precision: str = "auto"
    stack: int | None = None

    def steps_for(self, per_epoch: int) -> int:
        """Steps of a run whose epoch has `per_epoch` batches."""
        wanted = self.epochs * per_epoch
        return self.steps or min(wanted, self.most_steps or wanted)

    def interval(self, steps: int) -> int:
        """Steps between validations of a run of `steps` steps."""
        return self.validate_every or max(20, steps // 50)

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
    """Which captions and pictures. `root` is `--data-root`; `image_features` a file of the user's own features.

    `translations` is a folder that `xpet translate --data` wrote, preferred to the data's own translations.
    """

    name: str = "demo"
    root: str | None = None
    variant: str | None = None
    shots: int | None = None
    val_shots: int | None = None
    split_seed: int = 42
    split_file: str | None = None
    image_features: str | None = None
    translations: str | None = None
    drop_flagged: bool = False


@dataclass(frozen=True)
class ModelConfig:
    """Which towers: names on the hub or local folders; `image` None means the partner the text tower names."""

    text: str = "demo"
    image: str | None = None


@dataclass(frozen=True)
class AlignConfig:
    """Everything `xpet align` needs. Tuple fields are swept: their product is trained side by side.

    `align_weights` None means each loss's own default (`xpet.core.choices.DEFAULT_WEIGHTS`).
    """

    languages: tuple[str, ...]
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=lambda: DataConfig(shots=100))
    method: MethodConfig = field(default_factory=MethodConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    routines: tuple[str, ...] = ("routine3",)
    losses: tuple[str, ...] = ("mse",)
    align_weights: tuple[float, ...] | None = None
    learning_rates: tuple[float, ...] = (5e-4,)
    seeds: tuple[int, ...] = (1,)
    out: str | None = None
    overwrite: bool = False

    def runs(self) -> Iterator[RunConfig]:
        """The product of everything that varies, languages outermost.

        A routine without an alignment loss is not repeated for every loss and weight.
        """
        runs: dict[RunConfig, None] = {}
        for language, routine, loss in itertools.product(self.languages, self.routines, self.losses):
            found = find_routine(routine)
            weights = self._weights(loss) if found.anchor else (0.0,)
            used = loss if found.anchor else self.losses[0]
            for weight, rate, seed in itertools.product(weights, self.learning_rates, self.seeds):
                runs[RunConfig(language, found.name, used, weight, rate, seed)] = None
        return iter(runs)

    def _weights(self, loss: str) -> tuple[float, ...]:
        return (DEFAULT_WEIGHTS[loss],) if self.align_weights is None else self.align_weights

    def check(self) -> AlignConfig:
        """Self with full routine names; raises ConfigError with every problem found, before anything is loaded."""
        problems = [*self.method.problems(), *self.fit.problems()]
        for name in self.routines:
            try:
                find_routine(name)
            except ConfigError as error:
                problems.extend(error.problems)
        problems += [unknown("loss", name, LOSS_NAMES) for name in self.losses if name not in LOSS_NAMES]
        rates, weights = self.learning_rates, self.align_weights or ()
        problems += [f"learning rate must be positive, found {r:g}" for r in rates if not 0 < r < math.inf]
        problems += [f"align weight must not be negative, found {w:g}" for w in weights if not 0 <= w < math.inf]
        axes = ("languages", "routines", "losses", "align_weights", "learning_rates", "seeds")
        problems += [f"expected at least one of {name}, found none" for name in axes if getattr(self, name) == ()]
        shots = self.data.shots
        if shots is not None and shots < 2:
            problems.append(f"shots must be at least 2, found {shots}")
        if self.data.val_shots is not None and self.data.val_shots < 2:
            problems.append(f"validation shots must be at least 2, found {self.data.val_shots}")
        if problems:
            raise ConfigError(*problems)
        return replace(self, routines=tuple(find_routine(name).name for name in self.routines))


@dataclass(frozen=True)
class GateConfig:
    """What fails a CI job: points of R@1 lost by any language, a range above, a mean below (all in points)."""

    drop: float | None = None
    range_above: float | None = None
    under: float | None = None


@dataclass(frozen=True)
class EvalConfig:
    """Everything `xpet eval` needs: what is measured, on which data, and what else to find out.

    `runs` are run or sweep folders (none: zero-shot only), or result files. With `compare` each of them is a system of
    its own, else all make one. Empty names (`data.name`, `model.text`) and fields left None mean what the runs were
    trained on, or the demo. `texts` are slots to search with besides the usual, `prompts` as `xpet.core.prompts`
    parses them (with `ensemble` averaged into one), `english` a mono-lingual English text tower for translated
    captions. `resamples` 0: no intervals.
    """

    runs: tuple[str, ...] = ()
    languages: tuple[str, ...] | None = None
    model: ModelConfig = field(default_factory=lambda: ModelConfig(text=""))
    data: DataConfig = field(default_factory=lambda: DataConfig(name=""))
    fit: FitConfig = field(default_factory=FitConfig)
    lint_only: bool = False
    compare: bool = False
    texts: tuple[str, ...] | None = None
    prompts: tuple[str, ...] = ()
    ensemble: bool = False
    english: str | None = None
    groups: tuple[str, ...] = ()
    resamples: int = 2000
    seed: int = 0
    latency: bool = False
    diagnose: bool = False
    advise: bool = False
    gate: GateConfig = field(default_factory=GateConfig)

    def check(self) -> EvalConfig:
        """Self with slot names for texts; raises ConfigError with every problem found, before anything is loaded."""
        problems = [unknown("text", t, list(TEXTS)) for t in self.texts or () if t not in (*TEXTS, *TEXTS.values())]
        if self.resamples < 0:
            problems.append(f"resamples must not be negative, found {self.resamples}")
        if self.compare and len(self.runs) < 2:
            problems.append(f"--compare: expected at least two runs, folders or result files, found {len(self.runs)}")
        if not 0 <= self.seed < 2**63:
            problems.append(f"--seed: expected a number from 0 to 2^63, found {self.seed}")
        if self.fit.device not in DEVICES:
            problems.append(unknown("device", self.fit.device, DEVICES))
        problems += [unknown("grouping", by, list(GROUPINGS)) for by in self.groups if by not in GROUPINGS]
        for prompt in self.prompts:
            try:
                parse(prompt)
            except ConfigError as error:
                problems.extend(error.problems)
        if self.ensemble and len(self.prompts) < 2:
            problems.append(f"--ensemble: expected at least two prompts to average, found {len(self.prompts)}")
        problems += self._unused()
        if problems:
            raise ConfigError(*problems)
        texts = None if self.texts is None else tuple(dict.fromkeys(TEXTS.get(text, text) for text in self.texts))
        return replace(self, texts=texts, prompts=tuple(dict.fromkeys(self.prompts)))

    def _unused(self) -> list[str]:
        """Options that what is evaluated would leave without effect."""
        extra = {
            "--text": self.texts, "--prompt": self.prompts, "--english-model": self.english,
            "--diagnose": self.diagnose, "--advise": self.advise,
        }  # fmt: skip
        stored = [name for name in self.runs if name.endswith(RESULT)]
        found = []
        if self.compare:
            found += [f"{name} does not go with --compare" for name, value in extra.items() if value]
        elif stored:
            extra |= {"--lang": self.languages, "--group": self.groups, "--latency": self.latency}
            found += [f"{name} needs a new measurement, found the result {stored[0]}" for name, v in extra.items() if v]
        if self.latency and not self.runs:
            found.append("--latency needs runs to compare with the bare tower")
        return found


@dataclass(frozen=True)
class TranslateConfig:
    """Everything `xpet translate` needs for texts. `file` None is standard input, `out` None standard output.

    `column` and `into` are for tables and JSON lines: what is translated, and where the translation goes. `packages`
    is a folder, or `demo`; None is Argos' own. `reference` is a file the translation is scored against. `noise` is the
    share of words that are degraded after translation.
    """

    source: str
    target: str
    file: str | None = None
    out: str | None = None
    column: str | None = None
    into: str | None = None
    fast: bool = False
    device: str = "auto"
    packages: str | None = None
    reference: str | None = None
    reference_column: str | None = None
    noise: float | None = None
    noise_seed: int | None = None


@dataclass(frozen=True)
class TranslateDataConfig:
    """Everything `xpet translate --data` needs: which captions, into what, and where the translations go.

    `out` None is where `align` and `eval` look by themselves; `packages` None is the demo's for the demo, else Argos'.
    """

    languages: tuple[str, ...]
    data: DataConfig
    direction: str = "both"
    out: str | None = None
    fast: bool = False
    device: str = "auto"
    packages: str | None = None
    noise: float | None = None
    noise_seed: int | None = None


@dataclass(frozen=True)
class MergeConfig:
    """Everything `xpet merge` needs: a run (or a folder with exactly one), and where its checkpoint goes.

    `shard_size` is the most bytes of a file of weights; `pytorch_bin` writes PyTorch files in place of safetensors.
    """

    run: str
    out: str
    dtype: str = "fp32"
    shard_size: int = 2 * 10**9
    pytorch_bin: bool = False
    verify: bool = True
    overwrite: bool = False
    device: str = "auto"

    def check(self) -> MergeConfig:
        """Self; raises ConfigError with every problem found, before anything is loaded."""
        problems = [] if self.dtype in DTYPES else [unknown("dtype", self.dtype, DTYPES)]
        if self.shard_size < 1:
            problems.append(f"shard size must be at least 1 byte, found {self.shard_size}")
        if self.device not in DEVICES:
            problems.append(unknown("device", self.device, DEVICES))
        if problems:
            raise ConfigError(*problems)
        return self


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON-ready values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
