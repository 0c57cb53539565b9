"""Options that belong to the command line alone, such as where and how results are shown; declared as fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xpet.cli.reports import FORMATS, PLOT_KINDS
from xpet.core.config.kinds import REPEATED
from xpet.core.config.options import OUTPUT, PACKAGES, SETTINGS, SPEED, TEXTS, WHERE, Option, declared, option


def _config(help: str) -> Any:  # noqa: A002
    return option(
        None, "--config", help, SETTINGS, metavar="FILE", default_text="./xpet.toml", stored=False, common=True
    )


_PROCESSES = Option(
    ("--processes",), "Processes on this machine, each with a device of its own", SPEED, default_text="1"
)  # fmt: skip


@dataclass(frozen=True)
class Switches:
    """Options of every command."""

    json: bool = option(
        False, "--json", "One JSON document on standard output", OUTPUT, common=True, instead_of=("format",)
    )
    quiet: bool = option(False, "--quiet -q", "No progress, no notices", OUTPUT)
    log_file: str | None = option(
        None, "--log-file", "File to which events, warnings and errors are added as they come", OUTPUT, metavar="FILE"
    )
    config: str | None = _config("Settings from this file")
    show_config: bool = option(
        False, "--show-config", "Show each value and its source; do nothing else", SETTINGS,
        stored=False, common=True,
    )  # fmt: skip
    debug: bool = option(False, "--debug", "Tracebacks in place of one-line errors", OUTPUT, stored=False)


@dataclass(frozen=True)
class AlignSwitches:
    """Further options of `xpet align`."""

    processes: int | None = declared(None, _PROCESSES)
    config: str | None = _config("Settings from this file, or of this run")
    resume: str | None = option(
        None, "--resume", "Go on with what was stopped in this folder", SETTINGS, metavar="FOLDER",
        stored=False,
    )  # fmt: skip
    """The same command with the same `--out` goes on as well."""
    status: str | None = option(
        None, "--status", "Instead: how far the training into this folder is", SETTINGS, metavar="FOLDER", stored=False,
        common=True,
    )  # fmt: skip
    dry_run: bool = option(
        False,
        "--dry-run",
        "Train nothing: check everything, and estimate time and size",
        OUTPUT,
        stored=False,
        common=True,
    )


@dataclass(frozen=True)
class EvalSwitches:
    """Further options of `xpet eval`."""

    processes: int | None = declared(None, _PROCESSES)
    config: str | None = _config("Settings from this file, or of this result")
    out: str | None = option(
        None, "--out -o", "File for the report", OUTPUT, default_text="standard output", metavar="FILE", common=True
    )
    format: str | None = option(
        None, "--format", f"Format of the report: {', '.join(FORMATS)}", OUTPUT, default_text="by the ending of -o",
        choices=tuple(FORMATS), instead_of=("json",),
    )  # fmt: skip
    plot: str | None = option(
        None, "--plot", f"Picture of the figures: .{', .'.join(PLOT_KINDS)}", OUTPUT, metavar="FILE", common=True
    )
    full: bool = option(False, "--full", "Every table: both directions, p values", OUTPUT)
    list_models: bool = option(
        False, "--list-models", "Show which models are read, and what of them was verified", WHERE, stored=False
    )


@dataclass(frozen=True)
class MergeSwitches:
    """Further options of `xpet merge`."""

    pack: str | None = option(
        None, "--pack", "Instead: one file with the modules of all languages", OUTPUT, metavar="FILE",
        common=True,
        instead_of=("out", "export", "dtype", "shard-size", "pytorch-bin"),
    )  # fmt: skip


@dataclass(frozen=True)
class TranslateSwitches:
    """Further options of `xpet translate`."""

    processes: int | None = declared(None, _PROCESSES)
    files: tuple[str, ...] = option(
        (), "", "Text, .csv, .tsv or .jsonl; none: standard input", TEXTS, kind=REPEATED, metavar="[FILE]...",
        stored=False,
    )  # fmt: skip
    list_packages: bool = option(
        False, "--list-packages", "Show what is installed", PACKAGES, stored=False, common=True
    )
    install: bool = option(
        False, "--install", "Install packages: .argosmodel files, or pairs such as de-en", PACKAGES, stored=False,
        common=True,
    )  # fmt: skip
