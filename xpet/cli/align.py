"""`xpet align`: options -> AlignConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xpet.cli import options as o
from xpet.cli import view
from xpet.core.config import AlignConfig, DataConfig, FitConfig, MethodConfig, ModelConfig
from xpet.core.errors import ConfigError, unknown
from xpet.core.presets import PRESETS

EXAMPLES = """\
Examples:

\b
  xpet align --lang de --method lora --shots 100
  xpet align --lang all --method lora --seed 1,2,3 --routine 1
  xpet align --lang ja,ko --lr 1e-4,3e-4,1e-3 --align-weight 0.1,1 --json > sweep.json
  xpet align --lang tr --data xtd --data-root XTD10 --model M-CLIP/XLM-Roberta-Large-Vit-L-14 --preset paper
"""


def align(
    lang: o.Lang = "de",
    method: o.MethodName = "lora",
    shots: o.Shots = None,
    routine: o.RoutineNames = None,
    loss: o.LossNames = None,
    preset: o.Preset = "default",
    align_weight: Annotated[
        str | None,
        typer.Option(
            "--align-weight",
            "-w",
            help="Weight of the alignment loss; comma list [default: the loss's own].",
            rich_help_panel=o.TRAIN,
        ),
    ] = None,
    lr: Annotated[
        str | None, typer.Option("--lr", help="Learning rate; comma list [default: 5e-4].", rich_help_panel=o.TRAIN)
    ] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", help="Seed; comma list [default: 1].", rich_help_panel=o.TRAIN)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", help="Captions per step and run [default: 20].", rich_help_panel=o.TRAIN),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", help="Passes over the shots [default: 40, at most 2,000 steps].", rich_help_panel=o.TRAIN
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps, instead of epochs.", rich_help_panel=o.TRAIN)
    ] = None,
    validate_every: Annotated[
        int | None,
        typer.Option(
            "--validate-every", help="Steps between validations [default: 20, or 50 times].", rich_help_panel=o.TRAIN
        ),
    ] = None,
    select: Annotated[
        str | None,
        typer.Option("--select", help="Best checkpoint by loss, mrr or r1 [default: loss].", rich_help_panel=o.TRAIN),
    ] = None,
    dropout: Annotated[
        str | None,
        typer.Option("--dropout", help="off, or model (as the reference) [default: off].", rich_help_panel=o.TRAIN),
    ] = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    stack: Annotated[
        int | None,
        typer.Option("--stack", help="Runs side by side [default: as memory allows].", rich_help_panel=o.TRAIN),
    ] = None,
    rank: Annotated[int, typer.Option("--rank", help="LoRA rank.", rich_help_panel=o.METHOD)] = 8,
    alpha: Annotated[float, typer.Option("--alpha", help="LoRA alpha.", rich_help_panel=o.METHOD)] = 16.0,
    bottleneck: Annotated[int, typer.Option("--bottleneck", help="Adapter width.", rich_help_panel=o.METHOD)] = 24,
    reduction: Annotated[
        int, typer.Option("--reduction", help="Compacter: hidden size over width.", rich_help_panel=o.METHOD)
    ] = 16,
    tokens: Annotated[int, typer.Option("--tokens", help="Soft-prompt length.", rich_help_panel=o.METHOD)] = 4,
    prompt: Annotated[
        str | None, typer.Option("--prompt", help="Text a soft prompt starts from.", rich_help_panel=o.METHOD)
    ] = None,
    modules: Annotated[
        str | None,
        typer.Option("--modules", help="Modules to attach to, comma list of name endings.", rich_help_panel=o.METHOD),
    ] = None,
    train: Annotated[
        str | None,
        typer.Option(
            "--train", help="Extra parts: layernorm, head, pooler, none; comma list.", rich_help_panel=o.METHOD
        ),
    ] = None,
    model: o.Model = "demo",
    image_model: o.ImageModel = None,
    data: o.Data = "demo",
    data_root: o.DataRoot = None,
    variant: o.Variant = None,
    val_shots: Annotated[
        int | None,
        typer.Option("--val-shots", help="Validation images [default: as many as shots].", rich_help_panel=o.HOW),
    ] = None,
    split_seed: Annotated[int, typer.Option("--split-seed", help="Seed of the split.", rich_help_panel=o.HOW)] = 42,
    split_file: o.SplitFile = None,
    image_features: o.ImageFeatures = None,
    translations: o.Translations = None,
    drop_flagged: Annotated[
        bool,
        typer.Option(
            "--drop-flagged", help="Leave out training captions whose translation looks wrong.", rich_help_panel=o.HOW
        ),
    ] = False,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", "-o", help="Folder of the run, or of the sweep [default: in the cache].", rich_help_panel=o.OUT
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier run.", rich_help_panel=o.OUT)
    ] = False,
    json_output: o.Json = False,
    quiet: o.Quiet = False,
    debug: o.Debug = False,
) -> None:
    """Train a tiny module per language that aligns its captions with English, and show before and after."""
    given = {name: value for name, value in locals().items() if value is not None}
    config = build_config(given)
    from xpet.jobs.align import run

    with view.progress(quiet) as on_event:
        result = run(config, on_event)
    view.show_align(result, json_output)


def build_config(given: dict[str, Any]) -> AlignConfig:
    """The configuration of the options given, completed by the preset; raises ConfigError."""
    if given["preset"] not in PRESETS:
        raise ConfigError(unknown("preset", given["preset"], list(PRESETS)))
    v = {**PRESETS[given["preset"]], **given}
    method = MethodConfig(
        name=v["method"], rank=v["rank"], alpha=v["alpha"], bottleneck=v["bottleneck"], reduction=v["reduction"],
        tokens=v["tokens"], prompt=v.get("prompt"), modules=o.names("--modules", v.get("modules")),
        train=o.names("--train", v.get("train")),
    )  # fmt: skip
    fit = FitConfig(
        batch_size=v["batch_size"], epochs=v["epochs"], steps=v.get("steps"), validate_every=v["validate_every"],
        most_steps=None if "epochs" in given else v["most_steps"],
        select=v["select"], latest_tie_wins=v["latest_tie_wins"], include_start=v["include_start"],
        dropout=v["dropout"], device=v["device"], precision=v["precision"], stack=v.get("stack"),
    )  # fmt: skip
    data = DataConfig(
        name=v["data"], root=v.get("data_root"), variant=v.get("variant"),
        shots=o.count_or_all("--shots", v["shots"]),
        val_shots=v.get("val_shots"),
        split_seed=v["split_seed"], split_file=v.get("split_file"), image_features=v.get("image_features"),
        translations=v.get("translations"), drop_flagged=v.get("drop_flagged", False),
    )  # fmt: skip
    weights: str | None = v["align_weight"]
    return AlignConfig(
        languages=o.comma_list("--lang", v["lang"], str), model=ModelConfig(v["model"], v.get("image_model")),
        data=data, method=method, fit=fit,
        routines=o.comma_list("--routine", v["routine"], str), losses=o.comma_list("--loss", v["loss"], str),
        align_weights=None if weights is None else o.comma_list("--align-weight", weights, float),
        learning_rates=o.comma_list("--lr", v["lr"], float), seeds=o.comma_list("--seed", v["seed"], int),
        out=v.get("out"), overwrite=v["overwrite"],
    )  # fmt: skip
