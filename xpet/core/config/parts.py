"""What several commands share: method, run, fit, data, model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from xpet.core.choices import METHOD_NAMES, UNSUPPORTED_METHODS
from xpet.core.errors import unknown

TRAIN_PARTS = ("layernorm", "head", "pooler", "embeddings")
SELECTORS = ("mrr", "loss", "r1")
PRECISIONS = ("auto", "fp32", "tf32", "bf16")
LAYOUTS = ("packed", "padded")
VALIDATIONS = ("auto", "pictures", "text")
MOST_N_BEST = 4
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
    embedding_rank: int = 32

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found = [
            f"{name} must be positive, found {value}"
            for name, value in (
                ("rank", self.rank), ("alpha", self.alpha), ("bottleneck", self.bottleneck),
                ("reduction", self.reduction), ("tokens", self.tokens), ("embedding rank", self.embedding_rank),
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
    image_weight: float = 1.0

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
    layout: str = "packed"
    compile: bool = False
    cuda_graphs: bool = False
    workers: int | None = None

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
                ("validate-every", self.validate_every), ("stack", self.stack), ("workers", self.workers),
            )
            if value is not None and value < 1
        ]  # fmt: skip
        for what, value, known in (
            ("selection rule", self.select, SELECTORS), ("dropout", self.dropout, ("off", "model")),
            ("device", self.device, DEVICES), ("precision", self.precision, PRECISIONS),
            ("layout", self.layout, LAYOUTS),
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
class TextConfig:
    """What routine `text` learns from: English lines, and how they are translated.

    `corpus` are files of English text (None: the data set's own English training captions), `column` that of files with
    columns, `lines` how many are used at most. `n_best` translations of each line are used; `natural_share` of the
    rows trained on are natural captions of the shots, again and again. Translations of more than `max_tokens` tokens
    are left out; `noise` of their words are degraded, to see what that costs. `packages` are those of `xpet translate`.
    `validate_on` is `pictures` (the data's own, found with natural captions), `text` (held-out lines, found with their
    translations; with natural captions in training those of the validation part) or `auto`: text for a corpus of
    files, else pictures.
    """

    corpus: tuple[str, ...] | None = None
    column: str | None = None
    lines: int | None = None
    n_best: int = 1
    natural_share: float = 0.0
    max_tokens: int = 64
    packages: str | None = None
    fast: bool = False
    validate_on: str = "auto"
    noise: float = 0.0

    @property
    def validates_on_text(self) -> bool:
        """Whether no picture is used for validation."""
        return self.validate_on == "text" or (self.validate_on == "auto" and self.corpus is not None)

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found = [
            f"{name} must be at least {least}, found {value}"
            for name, value, least in (
                ("lines", self.lines, 2), ("n-best", self.n_best, 1), ("max-tokens", self.max_tokens, 3),
            )
            if value is not None and value < least
        ]  # fmt: skip
        if self.n_best > MOST_N_BEST:
            found.append(f"n-best must be at most {MOST_N_BEST} (the translator's beam), found {self.n_best}")
        if not 0 <= self.natural_share < 1:
            found.append(f"natural share must be from 0 to below 1, found {self.natural_share:g}")
        if not 0 <= self.noise <= 1:
            found.append(f"noise must be a rate from 0 to 1, found {self.noise:g}")
        if self.validate_on not in VALIDATIONS:
            found.append(unknown("--validate-on", self.validate_on, VALIDATIONS))
        if self.corpus is not None and self.corpus.count("-") > 1:
            found.append(f"--corpus - is standard input: expected it once, found it {self.corpus.count('-')} times")
        if self.column is not None and self.corpus is None:
            found.append("--column needs --corpus")
        return found


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON-ready values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
