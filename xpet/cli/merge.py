"""`xpet merge`: options -> MergeConfig -> the job -> view."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xpet.cli import merge_view, view
from xpet.cli.command import Command
from xpet.cli.settings import Request
from xpet.cli.switches import MergeSwitches, Switches
from xpet.core.config import MergeConfig
from xpet.core.config import options as o
from xpet.core.errors import ConfigError

EXAMPLES = """\
Examples:

\b
  xpet merge runs/tr -o tower-tr
  xpet eval --model tower-tr
  xpet merge runs/tr -o tower-tr --dtype fp16 --shard-size 500MB
  xpet merge runs/tr -o tower-tr --pytorch-bin --overwrite
  xpet merge runs/tr runs/ja --strategy linear --weights 0.6,0.5 -o tower
  xpet merge runs --strategy ties --search 40 -o tower
  xpet merge runs/tr -o tower-tr --json | jq .verification
  xpet merge runs/all --pack languages.xpet
  xpet merge runs/tr -o adapter-tr --export peft
  xpet merge runs/tr -o onnx-tr --export onnx
  xpet merge runs/tr -o st-tr --export sentence-transformers
"""
CHECKPOINT = ("export", "dtype", "shard-size", "pytorch-bin")
"""Options of a folder that is written, which do not go with `--pack`."""
COMBINED = ("weights", "density", "rank", "search", "seed")
"""Options of combining several runs, which need `--strategy`."""


def build(values: Mapping[str, Any], base: None = None) -> MergeConfig:
    """The configuration that values by option make; raises ConfigError."""
    path = _output(values.get("out"), values.get("pack"))
    unused = [f"--{key}" for key in CHECKPOINT if key in values]
    if "pack" in values and unused:
        raise ConfigError(f"--pack: expected no options of a checkpoint, found {', '.join(unused)}")
    alone = [f"--{key}" for key in COMBINED if key in values]
    if alone and "strategy" not in values:
        raise ConfigError(f"{', '.join(alone)}: expected with --strategy, found none")
    config: MergeConfig = o.made(MergeConfig, {**values, "out": path}, base)
    return config


def _output(out: str | None, pack: str | None) -> str:
    """Where the result goes; raises ConfigError unless exactly one path is named."""
    given = [path for path in (out, pack) if path is not None]
    if len(given) != 1:
        raise ConfigError(f"expected --out FOLDER or --pack FILE, found {'both' if given else 'neither'}")
    return given[0]


COMMAND = Command(
    "merge", "Fold runs into a model, pack or export them.",
    "Fold a run, or several languages combined, into the weights, or export it: proven to compute the same.\n\n"
    "After xpet align --lang tr -o runs/tr: xpet merge runs/tr -o tower-tr",
    EXAMPLES, (o.RUNS, o.OUTPUT, o.STORED, o.SEVERAL, o.WHERE, o.SETTINGS),
    (MergeConfig, MergeSwitches, Switches), build, MergeConfig.check,
)  # fmt: skip


def run(request: Request) -> None:
    """Merge or pack, and show the result."""
    if request["pack"] is not None:
        from xpet.jobs.merge.pack import run as pack

        with view.progress(request["quiet"]) as on_event:
            packed = pack(request.config, on_event)
        view.show(merge_view.packed(packed), packed, request["json"])
        return
    from xpet.jobs.merge.run import run as job

    with view.progress(request["quiet"]) as on_event:
        result = job(request.config, on_event)
    view.show(merge_view.summary(result), result, request["json"])
