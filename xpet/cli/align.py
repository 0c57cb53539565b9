"""`xpet align`: options -> AlignConfig -> the job -> view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xpet.cli import align_view, status_view, stored_config, view
from xpet.cli.command import Command
from xpet.cli.settings import Request
from xpet.cli.switches import AlignSwitches, Switches
from xpet.core.config import AlignConfig, AlignPlan
from xpet.core.config import options as o
from xpet.core.launch import launch_of

EXAMPLES = """\
Examples:

\b
  xpet align --lang de --method lora --shots 100
  xpet align --lang all --routine 1 --loss mse-normalized --seed 1,2,3
  xpet align --lang ja,ko --lr 1e-4,3e-4,1e-3 --align-weight 0.1,1 --json > sweep.json
  xpet align --lang cs --data multi30k --data-root multi30k --routine text --corpus captions.en.txt.gz
  xpet align --lang tr --routine text,1 --chain
  xpet align --config runs/de --lang ja -o runs/ja
  xpet align --lang tr --data xtd --data-root XTD10 --model M-CLIP/XLM-Roberta-Large-Vit-L-14 --preset paper
"""


def build(values: Mapping[str, Any], base: AlignConfig | None = None) -> AlignConfig:
    """The configuration that values by option make, on top of a stored one (`base`) where there is one."""
    if base is not None and values.get("epochs") != base.fit.epochs:  # the stored limit belongs to the stored epochs
        base = replace(base, fit=replace(base.fit, most_steps=None))
    config: AlignConfig = o.made(AlignConfig, values, base)
    return config


def check(config: AlignConfig) -> AlignPlan | None:
    """The plan of what is trained; None for a chain, whose phases have a plan each. Raises ConfigError."""
    plans = [phase.check() for phase in config.phases()]
    return plans[0] if len(plans) == 1 else None


COMMAND = Command(
    "align", "Train a tiny module per language; show before and after.",
    "Train a tiny module per language that aligns its captions with English, and show R@1 before and after.\n\n"
    "Try first, without data, GPU or download: xpet align --lang de",
    EXAMPLES, (o.WHAT, o.WHERE, o.OPTIMISATION, o.METHOD, o.TEXT, o.SPEED, o.OUTPUT, o.SETTINGS),
    (AlignConfig, AlignSwitches, Switches), build, check, stored_config.of_run,
)  # fmt: skip


def run(request: Request) -> None:
    """Train, or only estimate or tell how far another process is, and show the result."""
    if request["status"] is not None:
        from xpet.jobs.align.status import status

        found = status(Path(request["status"]))
        view.show(status_view.summary(found), found, request["json"])
        return
    if request["dry-run"]:
        if launch_of().rank > 0:  # the first process estimates
            return
        from xpet.jobs.align import dry_run as estimate

        with view.progress(request["quiet"]) as on_event:
            expected = estimate.run(request.config, on_event)
        view.show(align_view.expected(expected), expected, request["json"])
        return
    from xpet.jobs.align import chain as job

    with view.progress(request["quiet"]) as on_event:
        result = job.run(request.config, on_event)
    view.show(align_view.summary(result), result, request["json"])
