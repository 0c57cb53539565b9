"""`xpet merge`: options -> MergeConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated

import typer

from xpet.cli import merge_view, view
from xpet.cli import options as o
from xpet.core.choices import FORM_NAMES
from xpet.core.config import DTYPES, MergeConfig

EXAMPLES = """\
Examples:

\b
  xpet merge runs/tr -o tower-tr
  xpet eval --model tower-tr
  xpet merge runs/tr -o tower-tr --dtype fp16 --shard-size 500MB
  xpet merge runs/tr -o tower-tr --pytorch-bin --overwrite
  xpet merge runs/tr -o tower-tr --json | jq .verification
  xpet merge runs/tr -o adapter-tr --export peft
  xpet merge runs/tr -o onnx-tr --export onnx
  xpet merge runs/tr -o st-tr --export sentence-transformers
"""


def merge(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN...", help="Runs of xpet align, or adapters made elsewhere.")
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="New folder.", rich_help_panel=o.OUT),
    ],
    export: o.Export = None,
    model: o.MergeModel = "",
    dtype: Annotated[
        str, typer.Option("--dtype", help=f"Stored type: {', '.join(DTYPES)}.", rich_help_panel=o.CHECKPOINT)
    ] = "fp32",
    shard_size: Annotated[
        str, typer.Option("--shard-size", help="Most bytes of a file of weights.", rich_help_panel=o.CHECKPOINT)
    ] = "2GB",
    pytorch_bin: Annotated[
        bool,
        typer.Option("--pytorch-bin", help="PyTorch files for older loaders.", rich_help_panel=o.CHECKPOINT),
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not compare with the run.", rich_help_panel=o.CHECKPOINT)
    ] = False,
    device: o.MergeDevice = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier merged checkpoint.", rich_help_panel=o.OUT)
    ] = False,
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Fold a run into the weights, or export it: proven to compute what the run does."""
    config = MergeConfig(
        tuple(runs), out, model=model, form=export or FORM_NAMES[0], dtype=dtype,
        shard_size=o.byte_count("--shard-size", shard_size), pytorch_bin=pytorch_bin, verify=not no_verify,
        overwrite=overwrite, device=device,
    ).check()  # fmt: skip
    from xpet.jobs.merge import run as job

    with view.progress(quiet) as on_event:
        result = job(config, on_event)
    view.show(merge_view.summary(result), result, json_output)
