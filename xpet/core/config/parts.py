"""What several commands share: method, run, data, model, text."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from xpet.core.choices import METHOD_NAMES, UNSUPPORTED_METHODS
from xpet.core.errors import unknown
from xpet.core.pictures import FEATURE_PRECISIONS
from xpet.core.presets import ALL

TRAIN_PARTS = ("layernorm", "head", "pooler", "embeddings")
VALIDATIONS = ("auto", "pictures", "text")
MOST_N_BEST = 4
DEMO = "demo"
"""The embedded world, as a data set and as a pair of towers."""


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
class DataConfig:
    """Which captions and pictures, and how they are cut into training, validation and test pictures."""

    name: str = ""
    """The data set: a name of `xpet.core.choices.SOURCE_NAMES`; empty: what the runs at hand were trained on, or the
    demo."""
    root: str | None = None
    """Folder (of a table: file) of the data."""
    variant: str | None = None
    """Part of a data set, such as task2 of multi30k."""
    shots: int | str | None = None
    """Training pictures, or `all`; None: the preset's number in `align`, and no cut at all in `eval`."""
    val_shots: int | str | None = None
    """Validation pictures; `all` those of an official validation split. None, and `all` where there is no such split:
    as many as shots."""
    split_seed: int = 42
    """Seed of the permutation that pictures are cut by (the reference's)."""
    split_file: str | None = None
    """JSON file with the names of the pictures of each part, in place of a cut."""
    image_features: str | None = None
    """File of the user's own image features, in place of pictures and an image tower."""
    translations: str | None = None
    """Folder that `xpet translate --data` wrote, preferred to the data's own translations."""
    drop_flagged: bool = False
    """Leave out training captions whose translation looks wrong."""

    @property
    def is_cut(self) -> bool:
        """Whether pictures are asked for part by part."""
        return any(value is not None for value in (self.shots, self.val_shots, self.split_file))

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        found = []
        for what, value in (("shots", self.shots), ("validation shots", self.val_shots)):
            if isinstance(value, str) and value != ALL:
                found.append(f"{what}: expected a number or '{ALL}', found '{value}'")
            elif isinstance(value, int) and value < 2:
                found.append(f"{what} must be at least 2, found {value}")
        if not -(2**63) <= self.split_seed < 2**64:
            found.append(f"split seed: expected a number of 64 bits, found {self.split_seed}")
        return found


@dataclass(frozen=True)
class ModelConfig:
    """Which towers: names on the hub or local folders."""

    text: str = ""
    """The text tower; empty: that of the runs at hand, or the demo's."""
    image: str | None = None
    """The image tower; None: the partner that the text tower names."""
    feature_precision: str = "auto"
    """What image features are computed in: fp32, bf16 or fp16; `auto` is bf16 on a GPU and fp32 on a CPU."""

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        known = self.feature_precision in FEATURE_PRECISIONS
        return [] if known else [unknown("feature precision", self.feature_precision, FEATURE_PRECISIONS)]


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
    def takes_own_translations(self) -> bool:
        """Whether translations that the data brings are used: of its own lines, unless others are asked for."""
        return self.corpus is None and self.packages is None and self.n_best == 1

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
