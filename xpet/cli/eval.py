"""`xpet eval`: options -> EvalConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated

import typer

from xpet.cli import options as o
from xpet.cli import view
from xpet.core.config import DataConfig, EvalConfig, FitConfig, ModelConfig
from xpet.core.errors import EXIT_BAD_INPUT

EXAMPLES = """\
Examples:

\b
  xpet eval
  xpet eval runs/de runs/ja
  xpet eval --lint --data xtd --data-root XTD10
  xpet eval --json | jq .before.range
"""


def evaluate(
    runs: Annotated[list[str] | None, typer.Argument(help="Run or sweep folders; none: zero-shot only.")] = None,
    lang: o.EvalLang = None,
    lint: Annotated[bool, typer.Option("--lint", help="Only check the captions.", rich_help_panel=o.WHAT)] = False,
    model: o.EvalModel = "",
    image_model: o.ImageModel = None,
    data: o.EvalData = "",
    data_root: o.DataRoot = None,
    variant: o.Variant = None,
    image_features: o.ImageFeatures = None,
    translations: o.Translations = None,
    device: o.Device = "auto",
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Measure R@1 per language and the disparity between languages: zero-shot, or before and after of runs."""
    config = EvalConfig(
        runs=tuple(runs or ()),
        languages=o.names("--lang", lang),
        model=ModelConfig(model, image_model),
        data=DataConfig(
            name=data, root=data_root, variant=variant, image_features=image_features, translations=translations
        ),
        fit=FitConfig(device=device),
        lint_only=lint,
    )
    from xpet.jobs.evaluate import run
    from xpet.jobs.results import LintResult

    with view.progress(quiet) as on_event:
        result = run(config, on_event)
    if isinstance(result, LintResult):
        view.show_lint(result, json_output)
        if result.errors:
            raise typer.Exit(EXIT_BAD_INPUT)
    else:
        view.show_eval(result, json_output)
