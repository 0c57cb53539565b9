"""Parts of configurations that several commands share: method, run, data, model, text of routine `text`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from xpet.core.choices import MAP_NAMES, METHOD_NAMES, SOURCE_NAMES, UNSUPPORTED_METHODS
from xpet.core.config.kinds import NAMES_OR_NONE, REPEATED
from xpet.core.config.options import METHOD, SPEED, TEXT, TRAINED, WHAT, WHERE, Owner, option
from xpet.core.config.seeds import torch_seed_problems
from xpet.core.errors import unknown
from xpet.core.pictures import FEATURE_PRECISIONS
from xpet.core.presets import ALL, DEFAULT

TRAIN_PARTS = ("layernorm", "head", "pooler", "embeddings")
VALIDATIONS = ("auto", "pictures", "text")
MOST_N_BEST = 4
DEMO = "demo"
"""The embedded world, as a data set and as a pair of towers."""
_LORA = Owner("method", ("lora",), unless="from")
_PROMPT = Owner("method", ("soft-prompt",), unless="from")
_WITH_MODULES = Owner("method", ("lora", "adapter", "compacter", "bitfit"), unless="from")
_TEXT = Owner("routine", ("text",))


@dataclass(frozen=True)
class MethodConfig:
    """A PET method and its settings; a setting that the method does not have stays at its default."""

    name: str = option(
        "lora", "--method -m", f"What to train: {', '.join(METHOD_NAMES)}", WHAT, choices=METHOD_NAMES,
        common=True,
    )  # fmt: skip
    rank: int = option(8, "--rank", "Rank of the product added to a weight", METHOD, owner=_LORA)
    """Inner size of the product of two matrices beside a weight (paper, section 4.2)."""
    alpha: float = option(16.0, "--alpha", "Scale: the product is multiplied by alpha / rank", METHOD, owner=_LORA)
    bottleneck: int = option(
        24, "--bottleneck", "Channels inside each adapter", METHOD, owner=Owner("method", ("adapter",), unless="from")
    )
    """Channels between the two layers of an adapter (the paper's choice)."""
    reduction: int = option(
        16,
        "--reduction",
        "Hidden size divided by the channels inside",
        METHOD,
        owner=Owner("method", ("compacter",), unless="from"),
    )
    tokens: int = option(4, "--tokens", "Length of the prompt in tokens", METHOD, owner=_PROMPT, instead_of=("prompt",))
    prompt: str | None = option(
        None,
        "--prompt",
        "Text whose embeddings it starts from",
        METHOD,
        default_text="random",
        owner=_PROMPT,
        instead_of=("tokens",),
    )
    """Its number of tokens takes the place of `tokens`."""
    maps: tuple[str, ...] = option(
        MAP_NAMES, "--map", f"Kinds of maps to fit, {', '.join(MAP_NAMES)}: validation chooses one", METHOD,
        default_text="all", choices=MAP_NAMES, owner=Owner("method", ("linear-map",), unless="from"),
    )  # fmt: skip
    """Names of `xpet.core.linear_map.MAPS`; the strength of a ridge is chosen on validation, too."""
    modules: tuple[str, ...] | None = option(
        None, "--modules", "Modules of the tower to attach to, by endings of names", METHOD,
        default_text="the method's own", kind=NAMES_OR_NONE, owner=_WITH_MODULES,
    )  # fmt: skip
    """None: the method's own choice, `xpet.methods.table.METHODS`."""
    train: tuple[str, ...] | None = option(
        None, "--train", f"Parts to train beside the module: {', '.join(TRAIN_PARTS)}; or none", METHOD,
        default_text="layernorm; soft-prompt, full, linear-map: none", kind=NAMES_OR_NONE,
        choices=(*TRAIN_PARTS, "none"), owner=TRAINED,
    )  # fmt: skip
    embedding_rank: int = option(
        32, "--embedding-rank", "Rank of the change to the word embeddings, with --train embeddings", METHOD,
        owner=Owner("train", ("embeddings",), unless="from"),
    )  # fmt: skip

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        problems = [
            f"{name} must be positive, found {value}"
            for name, value in (
                ("rank", self.rank), ("alpha", self.alpha), ("bottleneck", self.bottleneck),
                ("reduction", self.reduction), ("tokens", self.tokens), ("embedding rank", self.embedding_rank),
            )
            if value <= 0
        ]  # fmt: skip
        if self.name in UNSUPPORTED_METHODS:
            problems.append(f"method '{self.name}' is not supported: {UNSUPPORTED_METHODS[self.name]}")
        elif self.name not in METHOD_NAMES:
            problems.append(unknown("method", self.name, METHOD_NAMES))
        problems += [
            unknown("part to train", part, TRAIN_PARTS) for part in self.train or () if part not in TRAIN_PARTS
        ]
        problems += [unknown("map", name, MAP_NAMES) for name in self.maps if name not in MAP_NAMES]
        problems += [] if self.maps else [f"map: expected at least one of {', '.join(MAP_NAMES)}, found none"]
        return problems


@dataclass(frozen=True)
class RunConfig:
    """What may differ between the runs of one command, and so of one stack."""

    language: str
    routine: str = "routine3"
    """A name of `xpet.core.routines.ROUTINES`."""
    loss: str = DEFAULT.losses[0]
    align_weight: float = 0.1
    """Weight of the alignment loss; 0 where the routine has none."""
    learning_rate: float = DEFAULT.learning_rates[0]
    seed: int = 1
    image_weight: float = 1.0
    """Weight of the image-text loss."""

    @property
    def label(self) -> str:
        """Folder name of the run inside a sweep."""
        weight, rate = float(self.align_weight), float(self.learning_rate)
        return f"{self.language}-{self.routine}-{self.loss}-w{weight}-lr{rate}-seed{self.seed}"


@dataclass(frozen=True)
class DataConfig:
    """Which captions and pictures, and how they are cut into training, validation and test pictures."""

    name: str = option(
        "", "--data", f"Captions and pictures: {', '.join(SOURCE_NAMES)}", WHERE, default_text=DEMO,
        choices=SOURCE_NAMES, common=True,
    )  # fmt: skip
    """Empty: what the runs at hand were trained on, or the demo."""
    root: str | None = option(
        None, "--data-root", "Folder of the data set; of a table its file", WHERE, metavar="PATH", common=True
    )
    variant: str | None = option(None, "--variant", "Part of a data set, such as task2 of multi30k", WHERE)
    shots: int | str | None = option(None, "--shots -n", "Training pictures, or 'all'", WHAT, common=True)
    """None: the preset's number in `align`; all images with test captions in `eval`."""
    val_shots: int | str | None = option(
        None,
        "--val-shots",
        "Validation pictures; all: an official validation split",
        WHERE,
        default_text="as many as shots",
    )
    """Where there is no official validation split, `all` is as many as shots."""
    split_seed: int = option(42, "--split-seed", "Seed of the split into training, validation, test", WHERE)
    """The default is the reference's."""
    split_file: str | None = option(
        None, "--split-file", "JSON file with the names of each part's pictures", WHERE, metavar="FILE"
    )
    image_features: str | None = option(
        None, "--image-features", "Your own image features (.safetensors, .npy)", WHERE, metavar="FILE"
    )
    """In place of pictures and an image tower."""
    translations: str | None = option(
        None, "--translations", "Folder that xpet translate --data wrote", WHERE, metavar="FOLDER"
    )
    """Preferred to the data's own translations."""
    drop_flagged: bool = option(
        False, "--drop-flagged", "Leave out training captions whose translation looks wrong", WHERE
    )

    @property
    def is_cut(self) -> bool:
        """Whether the data is to be cut into parts: by numbers of pictures, or by a split file."""
        return any(value is not None for value in (self.shots, self.val_shots, self.split_file))

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        problems = []
        for what, value in (("shots", self.shots), ("validation shots", self.val_shots)):
            if isinstance(value, str) and value != ALL:
                problems.append(f"{what}: expected a number or '{ALL}', found '{value}'")
            elif isinstance(value, int) and value < 2:
                problems.append(f"{what} must be at least 2, found {value}")
        return problems + torch_seed_problems("split seed", self.split_seed)


@dataclass(frozen=True)
class ModelConfig:
    """Which towers: names on the hub or local folders."""

    text: str = option("", "--model", "Text tower, folder or hub name", WHERE, default_text=DEMO, common=True)
    """Empty: that of the runs at hand, or the demo's."""
    image: str | None = option(
        None, "--image-model", "Image tower, folder or hub name", WHERE, default_text="the text tower's partner"
    )
    feature_precision: str = option(
        "auto", "--feature-precision", "Precision of image features: auto (bf16 on a GPU, else fp32), fp32, bf16, fp16",
        SPEED, choices=FEATURE_PRECISIONS,
    )  # fmt: skip

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        is_known = self.feature_precision in FEATURE_PRECISIONS
        return [] if is_known else [unknown("feature precision", self.feature_precision, FEATURE_PRECISIONS)]


@dataclass(frozen=True)
class TextConfig:
    """What routine `text` learns from: English lines, and how they are translated."""

    corpus: tuple[str, ...] | None = option(
        None, "--corpus", "English text, any format, or -; repeatable", TEXT,
        default_text="the data's", kind=REPEATED, metavar="FILE", owner=_TEXT, common=True,
    )  # fmt: skip
    """Files (.txt, .csv, .tsv, .jsonl, .parquet, also with .gz or .bz2); None: the data's English training captions."""
    column: str | None = option(None, "--column", "Column of the corpus that holds the text", TEXT, owner=_TEXT)
    lines: int | None = option(
        None, "--lines", "Most lines of the corpus to use", TEXT, default_text="all", owner=_TEXT
    )
    n_best: int = option(1, "--n-best", "Translations of each line, 1 to 4", TEXT, owner=_TEXT)
    natural_share: float = option(
        0.0, "--natural-share", "Share of the training text that is natural captions of the shots", TEXT, owner=_TEXT
    )
    """From 0 to below 1; each caption is repeated as often as that takes."""
    max_tokens: int = option(64, "--max-tokens", "Most tokens of a translation; longer ones are left out", TEXT,
                             owner=_TEXT)  # fmt: skip
    packages: str | None = option(
        None, "--packages", "Folder of translation packages, or demo", TEXT, default_text="Argos' own; demo data: demo",
        metavar="FOLDER", owner=_TEXT,
    )  # fmt: skip
    fast: bool = option(False, "--fast", "Translate with beam 1 in place of 4", TEXT, owner=_TEXT)
    validate_on: str = option(
        "auto", "--validate-on", "pictures, text (held-out lines), or auto: text with --corpus", TEXT,
        choices=VALIDATIONS, owner=_TEXT,
    )  # fmt: skip
    """On pictures: the data's validation pictures, searched with natural captions. On text: held-out English lines,
    searched with their translations, or the natural captions of the validation part where `natural_share` is set."""
    noise: float = option(0.0, "--noise", "Share of translated words to degrade, 0 to 1", TEXT, owner=_TEXT)
    """To see what poor translation costs."""

    @property
    def takes_own_translations(self) -> bool:
        """Whether translations that come with the data are used: only for its own captions, and one of each."""
        return self.corpus is None and self.packages is None and self.n_best == 1

    @property
    def validates_on_text(self) -> bool:
        """Whether no picture is used for validation."""
        return self.validate_on == "text" or (self.validate_on == "auto" and self.corpus is not None)

    def problems(self) -> list[str]:
        """What is wrong with the settings, one text each."""
        problems = [
            f"{name} must be at least {least}, found {value}"
            for name, value, least in (
                ("lines", self.lines, 2), ("n-best", self.n_best, 1), ("max-tokens", self.max_tokens, 3),
            )
            if value is not None and value < least
        ]  # fmt: skip
        if self.n_best > MOST_N_BEST:
            problems.append(f"n-best must be at most {MOST_N_BEST} (the translator's beam), found {self.n_best}")
        if not 0 <= self.natural_share < 1:
            problems.append(f"natural share must be from 0 to below 1, found {self.natural_share:g}")
        if not 0 <= self.noise <= 1:
            problems.append(f"noise must be a rate from 0 to 1, found {self.noise:g}")
        if self.validate_on not in VALIDATIONS:
            problems.append(unknown("--validate-on", self.validate_on, VALIDATIONS))
        if self.corpus is not None and self.corpus.count("-") > 1:
            problems.append(f"--corpus - is standard input: expected it once, found it {self.corpus.count('-')} times")
        if self.column is not None and self.corpus is None:
            problems.append("--column needs --corpus")
        return problems


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration as plain JSON-ready values."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
