"""`xpet eval`: options -> EvalConfig -> the job -> a report in a format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xpet.cli import stored_config, view
from xpet.cli.command import Command
from xpet.cli.reports import FORMATS, PLOT_KINDS
from xpet.cli.settings import Request
from xpet.cli.switches import EvalSwitches, Switches
from xpet.core.config import EvalConfig, GateConfig
from xpet.core.config import options as o
from xpet.core.errors import EXIT_BAD_INPUT, EXIT_GATE, ConfigError, unknown
from xpet.core.launch import launch_of

if TYPE_CHECKING:
    from xpet.jobs.results.report import Report

EXAMPLES = """\
Examples:

\b
  xpet eval
  xpet eval runs/de runs/ja --group script,seen --plot before-after.svg
  xpet eval runs/de --fail-if-drop 1 --fail-if-range-above 30 --json > result.json
  xpet eval result.json -o report.html
  xpet eval --compare runs/lora runs/adapter old-result.json
  xpet eval --text to-pivot,pivot --prompt native --prompt "a photo of {}"
  xpet eval --split-of runs/de --english-model demo
  xpet eval --data xtd --data-root XTD10 --shots 50
  xpet eval --lang ja,ko --diagnose --advise
  xpet eval --lint --data xtd --data-root XTD10
  xpet eval --list-models
"""


def build(values: Mapping[str, Any], base: EvalConfig | None = None) -> EvalConfig:
    """The configuration that values by option make, on top of a stored one (`base`) where there is one."""
    config: EvalConfig = o.made(EvalConfig, values, base)
    return config


COMMAND = Command(
    "eval", "Measure recall per language and the disparity between languages.",
    "Measure recall per language and the disparity between languages: zero-shot, or before and after of runs.\n\n"
    "Try first: xpet eval --lang de,ja; after xpet align -o runs/de: xpet eval runs/de",
    EXAMPLES, (o.MEASURED, o.WHERE, o.STATISTICS, o.GATE, o.SPEED, o.OUTPUT, o.SETTINGS),
    (EvalConfig, EvalSwitches, Switches), build, EvalConfig.check, stored_config.of_result,
)  # fmt: skip


def run(request: Request) -> None:
    """Measure, write the report and the picture, and judge the limits; or show which models are read."""
    if request["list-models"]:
        _list_models(request)
        return
    out, plot, config = request["out"], request["plot"], request.config
    chosen = _format(request["format"], out, request["json"])
    kind = _plot_kind(plot)
    _check_drawing(chosen, plot)
    _check_paths(out, plot)
    from xpet.jobs.eval.run import run as job
    from xpet.jobs.results.lint import LintResult

    with view.progress(request["quiet"]) as on_event:
        result = job(config, on_event)
    if isinstance(result, LintResult):
        view.show_lint(result, request["json"])
        if result.errors:
            raise typer.Exit(EXIT_BAD_INPUT)
        return
    if launch_of().rank == 0:
        _write(result, chosen, out, plot, kind, request["full"])
    if config.gate != GateConfig():  # a stored result has gates of its own, which were judged when it was made
        _judge(result)


def _list_models(request: Request) -> None:
    """Show which models are read; raises ConfigError for options that do not go with that."""
    beside = [f"--{key}" for key in ("out", "format", "plot", "lint") if request.is_typed(key)]
    if beside:
        raise ConfigError(f"--list-models: expected it without {' and '.join(beside)}, found both")
    from xpet.jobs.eval.models import list_models

    view.show_models(list_models(), request["json"])


def _format(name: str | None, out: str | None, as_json: bool) -> str | None:
    """The format of the report; None: standard output decides (a terminal or not). Raises ConfigError."""
    if as_json and name not in (None, "json"):
        raise ConfigError(f"--json and --format {name}: expected one of them, found both")
    if name is not None and name not in FORMATS:
        raise ConfigError(unknown("format", name, list(FORMATS)))
    if as_json or name is not None or out is None:
        return "json" if as_json else name
    ending = Path(out).suffix.lower()
    by_ending = {known: name for name, format_ in FORMATS.items() for known in format_.endings}
    if ending not in by_ending:
        raise ConfigError(f"--out {out}: expected --format, or an ending of {', '.join(by_ending)}, found '{ending}'")
    return by_ending[ending]


def _check_paths(*paths: str | None) -> None:
    """Raises ConfigError for a file that cannot be written, before anything is measured."""
    import os

    for path in filter(None, paths):
        folder = Path(path).absolute().parent
        if not (folder.is_dir() and os.access(folder, os.W_OK)) or Path(path).is_dir():
            raise ConfigError(f"cannot write {path}: expected a file name in a folder that can be written to")


def _plot_kind(plot: str | None) -> str:
    kind = Path(plot).suffix.lower().removeprefix(".") if plot else ""
    if plot and kind not in PLOT_KINDS:
        raise ConfigError(f"--plot {plot}: expected an ending of {', '.join(PLOT_KINDS)}, found '{kind}'")
    return kind


def _check_drawing(name: str | None, plot: str | None) -> None:
    """Raises ConfigError where a picture is to be drawn without matplotlib, before anything is measured."""
    from importlib.util import find_spec

    options = [f"--plot {plot}"] * bool(plot) + ["--format html"] * (name == "html")
    if options and find_spec("matplotlib") is None:
        needs = " and ".join(options)
        raise ConfigError(f"{needs}: expected the package matplotlib, found none; pip install 'xpet[plot]'")


def _write(report: Report, name: str | None, out: str | None, plot: str | None, kind: str, full: bool) -> None:
    """The report and the picture; files are written whole or not at all."""
    from xpet.core.files import write_file

    if out is None:
        view.show_report(report, name, full)
    else:
        from xpet.cli.reports import render
        from xpet.cli.reports.look import Look

        write_file(Path(out), render(report, str(name), Look(full=full)))
    if plot is not None:
        from xpet.cli.reports.plot import render as draw

        write_file(Path(plot), draw(report, kind))


def _judge(report: Any) -> None:
    """Exit code 3 when a limit is broken, saying which."""
    broken = [gate for gate in report.gates if not gate.passed]
    for gate in broken:
        view.error(f"{gate.option} {gate.limit:g}: {gate.message}")
    if broken:
        raise typer.Exit(EXIT_GATE)
