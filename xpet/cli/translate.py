"""`xpet translate`: options -> TranslateConfig or TranslateDataConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xpet.cli import options as o
from xpet.cli import translate_view, view
from xpet.core.config import DataConfig, TranslateConfig, TranslateDataConfig
from xpet.core.errors import ConfigError

EXAMPLES = """\
Examples:

\b
  xpet translate captions.de.txt --from de --to en -o captions.en.txt
  xpet translate captions.csv --column caption --into to_pivot --from tr --to en -o translated.csv
  xpet translate --from de --to ja --fast < in.txt > out.txt
  xpet translate captions.de.txt --from de --to en -o captions.en.txt --reference natural.en.txt
  xpet translate captions.de.txt --from de --to en -o noisy.en.txt --noise 0.2
  xpet translate --data xtd --data-root XTD10 --lang de,ja --direction both
  xpet translate --install de-en en-ja
  xpet translate --install translate-de_en-1_0.argosmodel
  xpet translate --list-packages --json | jq .chains
"""


def translate(
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Text, .csv, .tsv or .jsonl; none: standard input."),
    ] = None,
    source: o.From = None,
    target: o.To = None,
    column: o.Column = None,
    into: o.Into = None,
    data: o.TranslateData = None,
    data_root: o.DataRoot = None,
    variant: o.Variant = None,
    lang: o.TranslateLang = None,
    direction: o.Direction = None,
    reference: o.Reference = None,
    reference_column: o.ReferenceColumn = None,
    noise: o.Noise = None,
    noise_seed: o.NoiseSeed = None,
    list_packages: Annotated[
        bool, typer.Option("--list-packages", help="Show what is installed.", rich_help_panel=o.PACKAGES)
    ] = False,
    install: Annotated[
        bool,
        typer.Option(
            "--install", help="Install packages: .argosmodel files, or pairs such as de-en.", rich_help_panel=o.PACKAGES
        ),
    ] = False,
    packages: o.Packages = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Beam 1 instead of Argos' 4.", rich_help_panel=o.HOW_FAST)
    ] = False,
    device: o.TranslateDevice = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="File [default: stdout]; with --data a folder.", rich_help_panel=o.OUT),
    ] = None,
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Translate texts with Argos packages, offline: a line for a line, cached, checked."""
    given = {name: value for name, value in locals().items() if value is not None and value is not False}
    if list_packages or install:
        _packages(files or [], list_packages, packages, install, json_output, quiet)
        return
    if data is not None:
        _data(data_config(given), json_output, quiet)
        return
    config = build_config(given)
    if json_output and out is None:
        raise ConfigError("--json needs --out: standard output cannot hold the translation and the document")
    if config.file is None and view.is_typed():
        raise ConfigError("expected a file, or text piped to standard input; see xpet translate --help")
    from xpet.jobs.translate.run import run

    with view.progress(quiet) as on_event:
        result = run(config, on_event, view.byte_input(), view.byte_output())
    if out is not None:
        view.show(translate_view.summary(result), result, json_output)


def build_config(given: dict[str, Any]) -> TranslateConfig:
    """The configuration of the options that were typed, and of nothing else; raises ConfigError with every problem."""
    _refuse(given, ("data_root", "variant", "lang", "direction"), "needs --data")
    files = given.get("files") or ["-"]
    problems = [
        f"expected a language in {option}, found none"
        for option, name in (("--from", "source"), ("--to", "target"))
        if not given.get(name)
    ]
    if len(files) > 1:
        problems.append(f"expected one file to translate, found {len(files)}")
    if problems:
        raise ConfigError(*problems)
    plain = TranslateConfig(given["source"], given["target"], None if files[0] == "-" else files[0])
    return o.part(plain, given)


def data_config(given: dict[str, Any]) -> TranslateDataConfig:
    """The configuration for a data set; raises ConfigError with every option that is for texts."""
    texts = ("files", "source", "target", "column", "into", "reference", "reference_column")
    _refuse(given, texts, "does not go with --data; see --lang and --direction")
    if "lang" not in given:
        raise ConfigError("--data: expected languages in --lang (comma list, or all), found none")
    plain = TranslateDataConfig(
        o.comma_list("--lang", given["lang"], str), o.part(DataConfig(), given, name="data", root="data_root")
    )
    return o.part(plain, {**given, "data": None})


def _refuse(given: dict[str, Any], names: tuple[str, ...], why: str) -> None:
    spelled = {"source": "--from", "target": "--to", "files": "FILE"}
    problems = [f"{spelled.get(n, '--' + n.replace('_', '-'))} {why}" for n in names if given.get(n)]
    if problems:
        raise ConfigError(*problems)


def _data(config: TranslateDataConfig, as_json: bool, quiet: bool) -> None:
    from xpet.jobs.translate.data_set import run

    with view.progress(quiet) as on_event:
        result = run(config, on_event)
    view.show(translate_view.columns(result), result, as_json)


def _packages(files: list[str], listing: bool, place: str | None, install: bool, as_json: bool, quiet: bool) -> None:
    if listing and (install or files):
        raise ConfigError("--list-packages goes with neither --install nor files")
    if install and place:
        raise ConfigError("--packages does not go with --install: set ARGOS_PACKAGES_DIR to install elsewhere")
    from xpet.jobs.translate.packages import install_packages, list_packages

    if install:
        with view.progress(quiet) as on_event:
            result = install_packages(files, on_event)
        view.show(translate_view.installed(result), result, as_json)
    else:
        result = list_packages(place)
        view.show(translate_view.packages(result), result, as_json)
