"""What `xpet translate` needs: for texts, or with `--data` for the captions of a data set."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, replace
from pathlib import Path

from xpet.core.argos_codes import argos_code
from xpet.core.choices import TABLE_ENDINGS
from xpet.core.config.fit import DEVICES
from xpet.core.config.options import (
    DATA_SET,
    OUTPUT,
    PACKAGES,
    QUALITY,
    SPEED,
    TEXTS,
    TIMEOUT,
    Option,
    Owner,
    declared,
    group,
    option,
    timeout_problems,
)
from xpet.core.config.parts import DataConfig
from xpet.core.errors import ConfigError, unknown

DIRECTIONS = {"to-pivot": ("to_pivot",), "from-pivot": ("from_pivot",), "both": ("to_pivot", "from_pivot")}
"""Values of `--direction`, each with the slots it makes."""
_DATA = Owner("data")
_OUT = Option(
    ("--out", "-o"), "File; with --data a folder", OUTPUT, metavar="PATH", common=True,
    default_text="standard output",
)  # fmt: skip
_FAST = Option(("--fast",), "Beam 1 in place of Argos' 4: faster, less good", SPEED, common=True)
_DEVICE = Option(("--device",), "auto (a GPU where there is one), cpu or cuda", SPEED, choices=DEVICES)
_PACKAGES = Option(
    ("--packages",), "Folder of packages, or demo", PACKAGES, default_text="Argos' own", metavar="FOLDER", common=True
)
_NOISE = Option(("--noise",), "Share of words to drop, swap or replace, 0 to 1", QUALITY)
_NOISE_SEED = Option(("--noise-seed",), "Seed of --noise", QUALITY, default_text="1")


@dataclass(frozen=True)
class TranslateConfig:
    """Everything `xpet translate` needs for texts."""

    source: str = option(MISSING, "--from -f", "Language to translate from", TEXTS, common=True, instead_of=("data",))
    target: str = option(MISSING, "--to -t", "Language to translate to", TEXTS, common=True)
    file: str | None = None
    """None: standard input."""
    out: str | None = declared(None, _OUT)
    """None: standard output."""
    column: str | None = option(None, "--column", "Column to translate (.csv, .tsv, .jsonl)", TEXTS, common=True)
    into: str | None = option(None, "--into", "Column for the translation", TEXTS, default_text="COLUMN_TO")
    fast: bool = declared(False, _FAST)
    device: str = declared("auto", _DEVICE)
    packages: str | None = declared(None, _PACKAGES)
    """None: Argos' own."""
    reference: str | None = option(
        None,
        "--reference",
        "Score the translations against this file, line by line (BLEU, chrF)",
        QUALITY,
        metavar="FILE",
    )
    reference_column: str | None = option(
        None, "--reference-column", "Column of the references (.csv, .tsv, .jsonl)", QUALITY
    )
    noise: float | None = declared(None, _NOISE)
    """Share of the words, 0 to 1, that are degraded after translation."""
    noise_seed: int | None = declared(None, _NOISE_SEED)
    timeout: float = declared(30.0, TIMEOUT)
    """Minutes without a sign of life after which other processes of this command count as lost."""

    def check(self) -> TranslateConfig:
        """The configuration with Argos' language codes and a name for the new column.

        Raises ConfigError with every problem, before anything is loaded.
        """
        source, target = argos_code(self.source), argos_code(self.target)
        named = self.column is not None and self.into is None
        config = replace(self, source=source, target=target, into=f"{self.column}_{target}" if named else self.into)
        problems = [*config._problems(), *config._bad_names(), *config._quality()]
        if problems:
            raise ConfigError(*problems)
        return config

    def _problems(self) -> list[str]:
        """What is wrong with languages, columns and files."""
        problems = []
        if self.source == self.target:
            problems.append(f"expected two languages, found {self.source} for both --from and --to")
        problems += _device_problems(self.device)
        table = self.file is not None and _has_columns(self.file)
        if table and self.column is None:
            problems.append(f"{self.file} has columns: expected the one to translate in --column, found none")
        if self.column is not None and not table:
            problems.append(f"--column is for .csv, .tsv and .jsonl files, found {self.file or 'standard input'}")
        if self.into is not None and self.column is None:
            problems.append("--into needs --column")
        for path, what in ((self.file, "the input"), (self.reference, "the references")):
            if self.out is not None and path is not None and _is_same(path, self.out):
                problems.append(f"expected another file for --out than {what}, found {self.out} for both")
        return problems

    def _bad_names(self) -> list[str]:
        """Problems of column names that are not UTF-8: Python reads such bytes as halves of surrogate pairs."""
        given = {"--column": self.column, "--into": self.into}
        bad = [option for option, name in given.items() if name and any("\ud800" <= char <= "\udfff" for char in name)]
        return [f"{option}: expected a name in UTF-8, found {given[option]!r}" for option in bad]

    def _quality(self) -> list[str]:
        """What is wrong with noise, references and the timeout."""
        problems = [*_noise_problems(self.noise, self.noise_seed), *timeout_problems(self.timeout)]
        table = self.reference is not None and _has_columns(self.reference)
        if table and self.reference_column is None:
            problems.append(f"{self.reference} has columns: expected that of the references in --reference-column")
        if self.reference_column is not None and not table:
            where = self.reference or "no --reference"
            problems.append(f"--reference-column is for .csv, .tsv and .jsonl files, found {where}")
        return problems


@dataclass(frozen=True)
class TranslateDataConfig:
    """Everything `xpet translate --data` needs: which captions, into what, and where the translations go."""

    languages: tuple[str, ...] = option(
        MISSING, "--lang -l", "Languages of the data, or all", DATA_SET, default_text="", owner=_DATA, common=True
    )
    data: DataConfig = group(
        DataConfig, only=("name", "root", "variant"),
        name={"help": "Translate this data set, in place of texts", "default_text": "", "section": DATA_SET,
              "instead_of": ("from", "to", "column", "into", "reference", "reference-column")},
        root={"section": DATA_SET, "owner": _DATA}, variant={"section": DATA_SET, "owner": _DATA},
    )  # fmt: skip
    """The captions."""
    direction: str = option(
        "both", "--direction", "to-pivot (to English), from-pivot (from English), or both", DATA_SET,
        choices=tuple(DIRECTIONS), owner=_DATA,
    )  # fmt: skip
    out: str | None = declared(None, _OUT)
    """None: the folder where `align` and `eval` look."""
    fast: bool = declared(False, _FAST)
    device: str = declared("auto", _DEVICE)
    packages: str | None = declared(None, _PACKAGES)
    """None: the demo's for the demo, else Argos' own."""
    noise: float | None = declared(None, _NOISE)
    """Share of the words, 0 to 1, that are degraded after translation."""
    noise_seed: int | None = declared(None, _NOISE_SEED)
    timeout: float = declared(30.0, TIMEOUT)
    """Minutes without a sign of life after which other processes of this command count as lost."""

    def check(self) -> TranslateDataConfig:
        """Self; raises ConfigError with every problem, before anything is loaded."""
        problems = []
        if self.direction not in DIRECTIONS:
            problems.append(unknown("direction", self.direction, list(DIRECTIONS)))
        problems += [*_device_problems(self.device), *_noise_problems(self.noise, self.noise_seed)]
        problems += timeout_problems(self.timeout)
        if self.noise and self.out is None:
            problems.append("--noise needs --out FOLDER: degraded translations are no default for align and eval")
        if self.out is not None and Path(self.out).exists() and not Path(self.out).is_dir():
            problems.append(f"--out: expected a folder for the translations, found a file {self.out}")
        if problems:
            raise ConfigError(*problems)
        return self


def _device_problems(device: str) -> list[str]:
    return [] if device in DEVICES else [unknown("device", device, DEVICES)]


def _noise_problems(noise: float | None, seed: int | None) -> list[str]:
    problems = []
    if noise is not None and not 0 <= noise <= 1:
        problems.append(f"--noise: expected a rate from 0 to 1, found {noise:g}")
    if noise is None and seed is not None:
        problems.append("--noise-seed needs --noise")
    return problems


def _has_columns(name: str) -> bool:
    """Whether a file of that name holds records with columns."""
    return Path(name).suffix.lower() in TABLE_ENDINGS


def _is_same(first: str, second: str) -> bool:
    """Whether two paths lead to one file, also where it does not exist yet."""
    try:
        return os.path.samefile(first, second)
    except OSError:
        return os.path.realpath(first) == os.path.realpath(second)
