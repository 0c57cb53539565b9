"""`xpet merge`: options -> MergeConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xpet.cli import merge_view, view
from xpet.cli import options as o
from xpet.core.choices import FORM_NAMES
from xpet.core.config import DTYPES, CombineConfig, MergeConfig
from xpet.core.errors import ConfigError

SHARD_SIZE = "2GB"
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
    model: o.MergeModel = "",
    data_root: o.DataRoot = None,
    dtype: Annotated[
        str, typer.Option("--dtype", help=f"Stored type: {', '.join(DTYPES)}.", rich_help_panel=o.CHECKPOINT)
    ] = "fp32",
    shard_size: Annotated[
        str, typer.Option("--shard-size", help="Most bytes of a file of weights.", rich_help_panel=o.CHECKPOINT)
    ] = SHARD_SIZE,
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
    device: o.MergeDevice = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier merged checkpoint.", rich_help_panel=o.OUT)
    ] = False,
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Fold a run, or several languages combined, into the weights, or export it: proven to compute the same."""
    place = _place(out, pack)
    checkpoint = {"--export": export, "--dtype": dtype != "fp32", "--shard-size": shard_size != SHARD_SIZE,
                  "--pytorch-bin": pytorch_bin}  # fmt: skip
    unused = [name for name, value in checkpoint.items() if value]
    if pack is not None and unused:
        raise ConfigError(f"--pack: expected no options of a checkpoint, found {', '.join(unused)}")
    config = MergeConfig(
        tuple(runs), place, model=model, form=export or FORM_NAMES[0], dtype=dtype,
        shard_size=o.byte_count("--shard-size", shard_size), pytorch_bin=pytorch_bin, verify=not no_verify,
        overwrite=overwrite, device=device, data_root=data_root,
        combine=_combine(strategy, weights, density=density, rank=rank, search=search, seed=seed),
    ).check()  # fmt: skip
    if pack is not None:
        from xpet.jobs.pack import run as packing

        with view.progress(quiet) as on_event:
            packed = packing(config, on_event)
        view.show(merge_view.packed(packed), packed, json_output)
        return
    from xpet.jobs.merge import run as job

    with view.progress(quiet) as on_event:
        result = job(config, on_event)
    view.show(merge_view.summary(result), result, json_output)


def _place(out: str | None, pack: str | None) -> str:
    """Where the result goes; raises ConfigError unless exactly one place is named."""
    given = [place for place in (out, pack) if place is not None]
    if len(given) != 1:
        raise ConfigError(f"expected --out FOLDER or --pack FILE, found {'both' if given else 'neither'}")
    return given[0]


def _combine(strategy: str | None, weights: str | None, **settings: Any) -> CombineConfig | None:
    """How runs are combined, None for a single one; raises ConfigError for settings without a strategy."""
    given = {name: value for name, value in settings.items() if value is not None}
    if weights is not None:
        given["weights"] = o.numbers("--weights", weights)
    if strategy is None and given:
        raise ConfigError(f"{', '.join(f'--{name}' for name in given)}: expected with --strategy, found none")
    return None if strategy is None else CombineConfig(strategy, **given)
