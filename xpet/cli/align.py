"""`xpet align`: options -> AlignConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xpet.cli import align_view, view
from xpet.cli import options as o
from xpet.core.config import AlignConfig, DataConfig, FitConfig, MethodConfig, ModelConfig, TextConfig
from xpet.core.errors import ConfigError, unknown
from xpet.core.presets import PRESETS, ROUTINE_DEFAULTS
from xpet.core.routines import find_routine

_TEXT_NAMES = ("n_best", "natural_share", "max_tokens", "fast", "validate_on", "noise")
_TEXT_DEFAULTS = {name: getattr(TextConfig(), name) for name in _TEXT_NAMES}
EXAMPLES = """\
Examples:

\b
  xpet align --lang de --method lora --shots 100
  xpet align --lang all --method lora --seed 1,2,3 --routine 1
  xpet align --lang ja,ko --lr 1e-4,3e-4,1e-3 --align-weight 0.1,1 --json > sweep.json
  xpet align --lang cs --routine text --corpus captions.en.txt.gz --train layernorm,embeddings
  xpet align --lang tr --routine text,1 --chain
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
        typer.Option("--stack", help="Runs side by side [default: as pays and fits].", rich_help_panel=o.TRAIN),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Stacks at a time on a CPU [default: one a core].", rich_help_panel=o.TRAIN),
    ] = None,
    layout: Annotated[
        str,
        typer.Option("--layout", help="Captions packed into common lines, or padded.", rich_help_panel=o.TRAIN),
    ] = "packed",
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Compile the layers first; takes minutes.", rich_help_panel=o.TRAIN),
    ] = False,
    cuda_graphs: Annotated[
        bool,
        typer.Option("--cuda-graphs", help="Record steps and replay them on a GPU.", rich_help_panel=o.TRAIN),
    ] = False,
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
            "--train",
            help="Parts to train beside the module: layernorm, head, pooler, embeddings, none; comma list.",
            rich_help_panel=o.METHOD,
        ),
    ] = None,
    embedding_rank: Annotated[
        int, typer.Option("--embedding-rank", help="Of --train embeddings.", rich_help_panel=o.METHOD)
    ] = 32,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Go on from a run, a folder of runs or a pack.", rich_help_panel=o.WHAT),
    ] = None,
    chain: Annotated[
        bool, typer.Option("--chain", help="Routines one after another, each from the last.", rich_help_panel=o.WHAT)
    ] = False,
    image_weight: Annotated[
        float | None,
        typer.Option(
            "--image-weight", help="Weight of the image-text loss [default: 1; text: 0].", rich_help_panel=o.TRAIN
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus",
            help="English text (.txt, .csv, .tsv, .jsonl, .parquet, .gz, -); repeatable [default: the data's own].",
            rich_help_panel=o.TEXT,
        ),
    ] = None,
    column: Annotated[
        str | None, typer.Option("--column", help="Column of the corpus with the text.", rich_help_panel=o.TEXT)
    ] = None,
    lines: Annotated[
        int | None, typer.Option("--lines", help="Lines of the corpus to use at most.", rich_help_panel=o.TEXT)
    ] = None,
    n_best: Annotated[
        int, typer.Option("--n-best", help="Translations of each line, 1 to 4.", rich_help_panel=o.TEXT)
    ] = 1,
    natural_share: Annotated[
        float,
        typer.Option(
            "--natural-share",
            help="Share of the text that is natural captions of the shots (no pictures).",
            rich_help_panel=o.TEXT,
        ),
    ] = 0.0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Leave longer translations out.", rich_help_panel=o.TEXT)
    ] = 64,
    packages: Annotated[
        str | None,
        typer.Option("--packages", help="Folder of packages, or demo [default: Argos' own].", rich_help_panel=o.TEXT),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Translate with beam 1.", rich_help_panel=o.TEXT)] = False,
    noise: Annotated[
        float, typer.Option("--noise", help="Degrade this share of translated words, 0 to 1.", rich_help_panel=o.TEXT)
    ] = 0.0,
    validate_on: Annotated[
        str,
        typer.Option(
            "--validate-on",
            help="pictures, text (held-out lines), or auto: text with --corpus, else pictures.",
            rich_help_panel=o.TEXT,
        ),
    ] = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check, and estimate time and size.", rich_help_panel=o.OUT)
    ] = False,
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
    configs = [build_config(phase) for phase in _phases(given)]
    from xpet.jobs import chain as job

    if dry_run:
        from xpet.jobs import estimate

        with view.progress(quiet) as on_event:
            expected = estimate.run(configs, on_event)
        view.show(align_view.expected(expected), expected, json_output)
        return
    with view.progress(quiet) as on_event:
        result = job.run(configs, on_event)
    view.show(align_view.summary(result), result, json_output)


def _phases(given: dict[str, Any]) -> list[dict[str, Any]]:
    """The options of each phase: with --chain one for every routine."""
    if not given.pop("chain"):
        return [given]
    routines = o.comma_list("--routine", given.get("routine", ""), str)
    if len(routines) < 2:
        raise ConfigError(f"--chain: expected several routines in --routine, found {', '.join(routines)}")
    return [_phase(given, routine) for routine in routines]


def _phase(given: dict[str, Any], routine: str) -> dict[str, Any]:
    """The options of one routine of a chain: those of routine text are left to it."""
    text = {"corpus": None, "column": None, "lines": None, "packages": None, **_TEXT_DEFAULTS}
    own = given if find_routine(routine).text_only else {k: v for k, v in {**given, **text}.items() if v is not None}
    return {**own, "routine": routine}


def build_config(given: dict[str, Any]) -> AlignConfig:
    """The configuration of the options given, completed by the preset; raises ConfigError."""
    if given["preset"] not in PRESETS:
        raise ConfigError(unknown("preset", given["preset"], list(PRESETS)))
    v = {**PRESETS[given["preset"]], **_routine_defaults(given), **given}
    method = MethodConfig(
        name=v["method"], rank=v["rank"], alpha=v["alpha"], bottleneck=v["bottleneck"], reduction=v["reduction"],
        tokens=v["tokens"], prompt=v.get("prompt"), modules=o.names("--modules", v.get("modules")),
        train=o.names("--train", v.get("train")), embedding_rank=v["embedding_rank"],
    )  # fmt: skip
    fit = FitConfig(
        batch_size=v["batch_size"], epochs=v["epochs"], steps=v.get("steps"), validate_every=v["validate_every"],
        most_steps=None if "epochs" in given else v["most_steps"],
        select=v["select"], latest_tie_wins=v["latest_tie_wins"], include_start=v["include_start"],
        dropout=v["dropout"], device=v["device"], precision=v["precision"], stack=v.get("stack"),
        layout=v.get("layout", "packed"), compile=v.get("compile_", False),
        cuda_graphs=v.get("cuda_graphs", False), workers=v.get("workers"),
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
        out=v.get("out"), overwrite=v["overwrite"], text=_text(v), image_weight=v.get("image_weight"),
        start=v.get("start"),
    )  # fmt: skip


def _routine_defaults(given: dict[str, Any]) -> dict[str, Any]:
    """What the one routine asked for wants in place of the default preset."""
    return ROUTINE_DEFAULTS.get(given.get("routine", ""), {}) if given["preset"] == "default" else {}


def _text(v: dict[str, Any]) -> TextConfig:
    corpus = v.get("corpus")
    return TextConfig(
        corpus=tuple(corpus) if corpus else None, column=v.get("column"), lines=v.get("lines"), n_best=v["n_best"],
        natural_share=v["natural_share"], max_tokens=v["max_tokens"], packages=v.get("packages"), fast=v["fast"],
        validate_on=v["validate_on"], noise=v["noise"],
    )  # fmt: skip
