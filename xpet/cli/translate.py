"""`xpet translate`: options -> TranslateConfig or TranslateDataConfig -> the job -> view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from xpet.cli import translate_view, view
from xpet.cli.command import Command
from xpet.cli.settings import Request
from xpet.cli.switches import Switches, TranslateSwitches
from xpet.core.config import TranslateConfig, TranslateDataConfig
from xpet.core.config import options as o
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
OF_TEXTS = ("files", "from", "to", "column", "into", "reference", "reference-column")
OF_DATA = ("data-root", "variant", "lang", "direction")


def build(values: Mapping[str, Any], base: None = None) -> TranslateConfig | TranslateDataConfig | None:
    """The configuration that values by option make; None for `--list-packages` and `--install`. Raises ConfigError."""
    if values.get("list-packages") or values.get("install"):
        return None
    return _of_data(values) if "data" in values else _of_texts(values)


def _of_texts(values: Mapping[str, Any]) -> TranslateConfig:
    _refuse(values, OF_DATA, "needs --data")
    files = values.get("files") or ("-",)
    problems = [f"expected a language in --{key}, found none" for key in ("from", "to") if not values.get(key)]
    if len(files) > 1:
        problems.append(f"expected one file to translate, found {len(files)}")
    if problems:
        raise ConfigError(*problems)
    config: TranslateConfig = o.made(TranslateConfig, values, None)
    return config if files[0] == "-" else replace(config, file=files[0])


def _of_data(values: Mapping[str, Any]) -> TranslateDataConfig:
    _refuse(values, OF_TEXTS, "does not go with --data; see --lang and --direction")
    if "lang" not in values:
        raise ConfigError("--data: expected languages in --lang (comma list, or all), found none")
    config: TranslateDataConfig = o.made(TranslateDataConfig, values, None)
    return config


def _refuse(values: Mapping[str, Any], keys: Sequence[str], why: str) -> None:
    """Raises ConfigError, saying why, where one of the options `keys` is given."""
    problems = [f"{'FILE' if key == 'files' else f'--{key}'} {why}" for key in keys if values.get(key)]
    if problems:
        raise ConfigError(*problems)


def check(config: TranslateConfig | TranslateDataConfig | None) -> TranslateConfig | TranslateDataConfig | None:
    """The configuration with every default filled in; raises ConfigError."""
    return None if config is None else config.check()


COMMAND = Command(
    "translate", "Translate texts or a data set, offline.",
    "Translate texts with Argos packages, offline: a line for a line, cached, checked.\n\n"
    "First: xpet translate --install de-en; then: xpet translate FILE --from de --to en -o OUT", EXAMPLES,
    (o.TEXTS, o.DATA_SET, o.QUALITY, o.PACKAGES, o.SPEED, o.OUTPUT, o.SETTINGS),
    (TranslateConfig, TranslateDataConfig, TranslateSwitches, Switches), build, check,
)  # fmt: skip


def run(request: Request) -> None:
    """Translate, or look after packages, and show the result."""
    config = request.config
    if config is None:
        _packages(request)
    elif isinstance(config, TranslateDataConfig):
        _data(config, request["json"], request["quiet"])
    else:
        _texts(config, request["json"], request["quiet"])


def _texts(config: TranslateConfig, as_json: bool, quiet: bool) -> None:
    if as_json and config.out is None:
        raise ConfigError("--json needs --out: standard output cannot hold the translation and the document")
    if config.file is None and view.is_interactive():
        raise ConfigError("expected a file, or text piped to standard input; see xpet translate --help")
    from xpet.jobs.translate.run import run as job

    with view.progress(quiet) as on_event:
        result = job(config, on_event, view.byte_input(), view.byte_output())
    if config.out is not None:
        view.show(translate_view.summary(result), result, as_json)


def _data(config: TranslateDataConfig, as_json: bool, quiet: bool) -> None:
    from xpet.jobs.translate.data_set import run as job

    with view.progress(quiet) as on_event:
        result = job(config, on_event)
    view.show(translate_view.columns(result), result, as_json)


def _packages(request: Request) -> None:
    """List or install packages; raises ConfigError for options that do not go with that."""
    files, folder, install = request["files"], request["packages"], request["install"]
    if request["list-packages"] and (install or files):
        raise ConfigError("--list-packages goes with neither --install nor files")
    if install and request.is_typed("packages"):
        raise ConfigError("--packages does not go with --install: set ARGOS_PACKAGES_DIR to install elsewhere")
    from xpet.jobs.translate.packages import install_packages, list_packages

    if install:
        with view.progress(request["quiet"]) as on_event:
            result = install_packages(list(files), on_event)
        view.show(translate_view.installed(result), result, request["json"])
    else:
        result = list_packages(folder)
        view.show(translate_view.packages(result), result, request["json"])
