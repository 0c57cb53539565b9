"""`xpet merge`: options -> MergeConfig -> the job -> view."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from xpet.cli import merge_view, view
from xpet.cli import options as o
from xpet.core.config import DTYPES, CombineConfig, MergeConfig
from xpet.core.errors import ConfigError

_PLAIN = MergeConfig((), "")  # for the defaults that help shows
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


def merge(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs of xpet align, or adapters made elsewhere.")
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", help="New folder.", rich_help_panel=o.OUT),
    ] = None,
    pack: Annotated[
        str | None,
        typer.Option("--pack", help="Put all languages' modules into this one file instead.", rich_help_panel=o.OUT),
    ] = None,
    export: o.Export = None,
    model: o.MergeModel = None,
    data_root: o.DataRoot = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", help=f"Stored type: {', '.join(DTYPES)} [default: {_PLAIN.dtype}].", rich_help_panel=o.CHECKPOINT
        ),
    ] = None,
    shard_size: Annotated[
        str | None,
        typer.Option(
            "--shard-size",
            help=f"Most bytes of a file of weights [default: {_PLAIN.shard_size // 10**9}GB].",
            rich_help_panel=o.CHECKPOINT,
        ),
    ] = None,
    pytorch_bin: Annotated[
        bool,
        typer.Option("--pytorch-bin", help="PyTorch files for older loaders.", rich_help_panel=o.CHECKPOINT),
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not compare with the run.", rich_help_panel=o.CHECKPOINT)
    ] = False,
    strategy: o.Strategy = None,
    weights: o.Weights = None,
    density: o.Density = None,
    rank: o.CombinedRank = None,
    search: o.WeightSearch = None,
    seed: o.CombineSeed = None,
    device: o.MergeDevice = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier merged checkpoint.", rich_help_panel=o.OUT)
    ] = False,
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Fold a run, or several languages combined, into the weights, or export it: proven to compute the same."""
    config = build_config({name: value for name, value in locals().items() if value is not None and value is not False})
    if pack is not None:
        from xpet.jobs.merge.pack import run as packing

        with view.progress(quiet) as on_event:
            packed = packing(config, on_event)
        view.show(merge_view.packed(packed), packed, json_output)
        return
    from xpet.jobs.merge.run import run as job

    with view.progress(quiet) as on_event:
        result = job(config, on_event)
    view.show(merge_view.summary(result), result, json_output)


CHECKPOINT = ("export", "dtype", "shard_size", "pytorch_bin")
"""Options of a checkpoint, which a pack has no use for."""
COMBINED = ("strategy", "weights", "density", "rank", "search", "seed")
"""Options of several runs made one."""


def build_config(given: dict[str, Any]) -> MergeConfig:
    """The configuration of the options that were typed, and of nothing else; raises ConfigError."""
    place = _place(given.get("out"), given.get("pack"))
    unused = [o.spelled(name) for name in CHECKPOINT if name in given]
    if "pack" in given and unused:
        raise ConfigError(f"--pack: expected no options of a checkpoint, found {', '.join(unused)}")
    own = dict(given)
    if "shard_size" in own:
        own["shard_size"] = o.byte_count("--shard-size", own["shard_size"])
    settings: dict[str, Any] = {
        "out": place,
        "runs": tuple(given["runs"]),
        "combine": _combine({n: own[n] for n in COMBINED if n in own}),
    }
    settings |= {"verify": False} if "no_verify" in own else {}
    return replace(o.part(_PLAIN, {**own, "runs": None, "out": None}, form="export"), **settings).check()


def _place(out: str | None, pack: str | None) -> str:
    """Where the result goes; raises ConfigError unless exactly one place is named."""
    given = [place for place in (out, pack) if place is not None]
    if len(given) != 1:
        raise ConfigError(f"expected --out FOLDER or --pack FILE, found {'both' if given else 'neither'}")
    return given[0]


def _combine(given: dict[str, Any]) -> CombineConfig | None:
    """How runs are combined, None for a single one; raises ConfigError for settings without a strategy."""
    if "weights" in given:
        given["weights"] = o.numbers("--weights", given["weights"])
    if given and "strategy" not in given:
        raise ConfigError(f"{', '.join(map(o.spelled, given))}: expected with --strategy, found none")
    return CombineConfig(**given) if given else None
