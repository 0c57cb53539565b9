"""`xpet eval`: options -> EvalConfig -> the job -> a report in the format asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xpet.cli import options as o
from xpet.cli import view
from xpet.cli.reports import FORMATS, PLOT_KINDS
from xpet.core.config import EvalConfig, GateConfig
from xpet.core.errors import EXIT_BAD_INPUT, EXIT_GATE, ConfigError, unknown

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
"""
ENDINGS = {
    ".json": "json", ".csv": "csv", ".md": "markdown", ".tex": "latex", ".html": "html", ".htm": "html",
    ".txt": "table",
}  # fmt: skip
"""What `-o FILE` writes when no `--format` is given."""


def evaluate(
    runs: Annotated[
        list[str] | None,
        typer.Argument(help="Run or sweep folders, adapters made elsewhere, or a result file; none: zero-shot only."),
    ] = None,
    lang: o.EvalLang = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Each path a system; the first is the reference.", rich_help_panel=o.WHAT)
    ] = False,
    text: Annotated[
        str | None,
        typer.Option(
            "--text", help="Also search with: target, to-pivot, from-pivot, pivot; comma list.", rich_help_panel=o.WHAT
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            help="Also search with captions in a template with {}, or in a set: english, native, native-spaced (as the "
            "paper's code joins them), or one of these with -ensemble; repeatable.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Average the prompts into one.", rich_help_panel=o.WHAT)
    ] = False,
    english_model: Annotated[
        str | None,
        typer.Option(
            "--english-model",
            help="English text tower for translated captions: a CLIP or M-CLIP checkpoint, or demo.",
            rich_help_panel=o.WHAT,
        ),
    ] = None,
    diagnose: Annotated[
        bool, typer.Option("--diagnose", help="Why each language is weak.", rich_help_panel=o.WHAT)
    ] = False,
    advise: Annotated[
        bool, typer.Option("--advise", help="Recommend a routine for each language.", rich_help_panel=o.WHAT)
    ] = False,
    latency: Annotated[
        bool, typer.Option("--latency", help="Time encoding against the bare tower.", rich_help_panel=o.WHAT)
    ] = False,
    lint: Annotated[bool, typer.Option("--lint", help="Only check the captions.", rich_help_panel=o.WHAT)] = False,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", help="Disparity within script, family, seen; comma list.", rich_help_panel=o.STATISTICS
        ),
    ] = None,
    resamples: Annotated[
        int | None,
        typer.Option(
            "--resamples",
            help=f"Bootstrap resamples behind the 95 % intervals; 0: none [default: {EvalConfig().resamples:,}].",
            rich_help_panel=o.STATISTICS,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of the resamples [default: 0].", rich_help_panel=o.STATISTICS)
    ] = None,
    fail_if_drop: Annotated[
        float | None,
        typer.Option("--fail-if-drop", help="Points any language may lose, English too.", rich_help_panel=o.GATE),
    ] = None,
    fail_if_range_above: Annotated[
        float | None, typer.Option("--fail-if-range-above", help="Points of range.", rich_help_panel=o.GATE)
    ] = None,
    fail_under: Annotated[
        float | None, typer.Option("--fail-under", help="Mean R@1 in percent.", rich_help_panel=o.GATE)
    ] = None,
    model: o.EvalModel = None,
    image_model: o.ImageModel = None,
    feature_precision: o.FeaturePrecision = None,
    data: o.EvalData = None,
    data_root: o.DataRoot = None,
    variant: o.Variant = None,
    shots: Annotated[
        str | None,
        typer.Option(
            "--shots",
            "-n",
            help="Measure on the test images that align --shots N leaves [default: on all].",
            rich_help_panel=o.HOW,
        ),
    ] = None,
    val_shots: o.ValShots = None,
    split_seed: o.SplitSeed = None,
    split_file: o.SplitFile = None,
    split_of: Annotated[
        str | None,
        typer.Option("--split-of", help="Measure on the data and test images of this run.", rich_help_panel=o.HOW),
    ] = None,
    image_features: o.ImageFeatures = None,
    translations: o.Translations = None,
    device: o.Device = None,
    format_name: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(FORMATS)} [default: for -o its ending].", rich_help_panel=o.OUT),
    ] = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="File for the report [default: stdout].", rich_help_panel=o.OUT)
    ] = None,
    plot: Annotated[
        str | None, typer.Option("--plot", help="Picture: .png, .svg or .pdf.", rich_help_panel=o.OUT)
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Every table: both directions, p values.", rich_help_panel=o.OUT)
    ] = False,
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Measure recall per language and the disparity between languages: zero-shot, or before and after of runs."""
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    chosen = _format(format_name, out, json_output)
    kind = _plot_kind(plot)
    config = build_config(given)
    _check_places(out, plot)
    from xpet.jobs.eval.run import run
    from xpet.jobs.results.lint import LintResult

    with view.progress(quiet) as on_event:
        result = run(config, on_event)
    if isinstance(result, LintResult):
        view.show_lint(result, json_output)
        if result.errors:
            raise typer.Exit(EXIT_BAD_INPUT)
        return
    _write(result, chosen, out, plot, kind, full)
    if config.gate != GateConfig():  # a stored result brings limits of its time
        _judge(result)


def build_config(given: dict[str, Any]) -> EvalConfig:
    """The configuration of the options that were typed, and of nothing else; raises ConfigError."""
    own, plain = dict(given), EvalConfig()
    for option in ("shots", "val_shots"):
        if option in own:
            own[option] = o.count_or_all(o.spelled(option), own[option])
    for option in ("text", "group"):
        own[option] = o.comma_list(o.spelled(option), own[option], str) if option in own else None
    config = replace(
        plain, model=o.part(plain.model, own, text="model", image="image_model"),
        data=o.part(plain.data, own, name="data", root="data_root"),
        fit=o.part(plain.fit, {"device": own.get("device")}),
        gate=o.part(plain.gate, own, drop="fail_if_drop", range_above="fail_if_range_above", under="fail_under"),
        runs=tuple(own.get("runs", ())), languages=o.names("--lang", own.get("lang")), texts=own["text"],
        prompts=tuple(own.get("prompt", ())), groups=own["group"] or (), english=own.get("english_model"),
        lint_only=own.get("lint", False),
    )  # fmt: skip
    as_typed = ("compare", "ensemble", "resamples", "seed", "latency", "diagnose", "advise", "split_of")
    return replace(config, **{name: own[name] for name in as_typed if name in own})


def _format(name: str | None, out: str | None, as_json: bool) -> str | None:
    """The format asked for; None leaves it to where the report goes. Raises ConfigError."""
    if as_json and name not in (None, "json"):
        raise ConfigError(f"--json and --format {name}: expected one of them, found both")
    if name is not None and name not in FORMATS:
        raise ConfigError(unknown("format", name, list(FORMATS)))
    if as_json or name is not None or out is None:
        return "json" if as_json else name
    ending = Path(out).suffix.lower()
    if ending not in ENDINGS:
        raise ConfigError(f"--out {out}: expected --format, or an ending of {', '.join(ENDINGS)}, found '{ending}'")
    return ENDINGS[ending]


def _check_places(*paths: str | None) -> None:
    """Files that cannot be written cost no measurement."""
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
