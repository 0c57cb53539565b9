"""`xpet align`: options -> AlignConfig -> the job -> view."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from xpet.cli import align_view, view
from xpet.cli import options as o
from xpet.core.config import AlignConfig, DataConfig, FitConfig, MethodConfig, ModelConfig, TextConfig
from xpet.core.presets import DEFAULT, OF_ROUTINE

_METHOD, _TEXT, _OF_TEXT = MethodConfig(), TextConfig(), OF_ROUTINE["text"]  # for the defaults that help shows
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
    lang: o.Lang = None,
    method: o.MethodName = None,
    shots: o.Shots = None,
    routine: o.RoutineNames = None,
    loss: o.LossNames = None,
    preset: o.Preset = None,
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
        str | None,
        typer.Option(
            "--lr", help=f"Learning rate; comma list [default: {DEFAULT.learning_rates[0]:g}].", rich_help_panel=o.TRAIN
        ),
    ] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", help="Seed; comma list [default: 1].", rich_help_panel=o.TRAIN)
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            help=f"Captions per step and run [default: {DEFAULT.batch_size}; text: {_OF_TEXT['batch_size']}].",
            rich_help_panel=o.TRAIN,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            help=f"Passes over the shots [default: {DEFAULT.epochs}, at most {DEFAULT.most_steps:,} steps].",
            rich_help_panel=o.TRAIN,
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
        typer.Option(
            "--select", help=f"Best checkpoint by loss, mrr or r1 [default: {DEFAULT.select}].", rich_help_panel=o.TRAIN
        ),
    ] = None,
    dropout: Annotated[
        str | None,
        typer.Option(
            "--dropout", help=f"off, or model (as the reference) [default: {DEFAULT.dropout}].", rich_help_panel=o.TRAIN
        ),
    ] = None,
    device: o.Device = None,
    precision: o.Precision = None,
    stack: Annotated[
        int | None,
        typer.Option("--stack", help="Runs side by side [default: as pays and fits].", rich_help_panel=o.TRAIN),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", help="Stacks at a time on a CPU [default: one a core].", rich_help_panel=o.TRAIN),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option("--layout", help="packed into common rows, or padded [default: packed].", rich_help_panel=o.TRAIN),
    ] = None,
    compile_: Annotated[
        bool,
        typer.Option("--compile", help="Compile the layers first; takes minutes.", rich_help_panel=o.TRAIN),
    ] = False,
    cuda_graphs: Annotated[
        bool,
        typer.Option("--cuda-graphs", help="Record steps and replay them on a GPU.", rich_help_panel=o.TRAIN),
    ] = False,
    rank: Annotated[
        int | None,
        typer.Option("--rank", help=f"LoRA rank [default: {_METHOD.rank}].", rich_help_panel=o.METHOD),
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option("--alpha", help=f"LoRA alpha [default: {_METHOD.alpha:g}].", rich_help_panel=o.METHOD),
    ] = None,
    bottleneck: Annotated[
        int | None,
        typer.Option("--bottleneck", help=f"Adapter width [default: {_METHOD.bottleneck}].", rich_help_panel=o.METHOD),
    ] = None,
    reduction: Annotated[
        int | None,
        typer.Option(
            "--reduction",
            help=f"Compacter: hidden size over width [default: {_METHOD.reduction}].",
            rich_help_panel=o.METHOD,
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", help=f"Soft-prompt length [default: {_METHOD.tokens}].", rich_help_panel=o.METHOD),
    ] = None,
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
        int | None,
        typer.Option(
            "--embedding-rank",
            help=f"Of --train embeddings [default: {_METHOD.embedding_rank}].",
            rich_help_panel=o.METHOD,
        ),
    ] = None,
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
        int | None,
        typer.Option(
            "--n-best", help=f"Translations of each line, 1 to 4 [default: {_TEXT.n_best}].", rich_help_panel=o.TEXT
        ),
    ] = None,
    natural_share: Annotated[
        float | None,
        typer.Option(
            "--natural-share",
            help=f"Share of the text that is natural captions of the shots [default: {_TEXT.natural_share:g}].",
            rich_help_panel=o.TEXT,
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", help=f"Leave longer translations out [default: {_TEXT.max_tokens}].", rich_help_panel=o.TEXT
        ),
    ] = None,
    packages: Annotated[
        str | None,
        typer.Option("--packages", help="Folder of packages, or demo [default: Argos' own].", rich_help_panel=o.TEXT),
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Translate with beam 1.", rich_help_panel=o.TEXT)] = False,
    noise: Annotated[
        float | None,
        typer.Option("--noise", help="Degrade this share of translated words, 0 to 1.", rich_help_panel=o.TEXT),
    ] = None,
    validate_on: Annotated[
        str | None,
        typer.Option(
            "--validate-on",
            help=f"pictures, text (held-out lines), or auto: text with --corpus [default: {_TEXT.validate_on}].",
            rich_help_panel=o.TEXT,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check, and estimate time and size.", rich_help_panel=o.OUT)
    ] = False,
    model: o.Model = None,
    image_model: o.ImageModel = None,
    feature_precision: o.FeaturePrecision = None,
    data: o.Data = None,
    data_root: o.DataRoot = None,
    variant: o.Variant = None,
    val_shots: o.ValShots = None,
    split_seed: o.SplitSeed = None,
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
    config = build_config({name: value for name, value in locals().items() if value is not None and value is not False})
    if dry_run:
        from xpet.jobs.align import dry_run as estimate

        with view.progress(quiet) as on_event:
            expected = estimate.run(config, on_event)
        view.show(align_view.expected(expected), expected, json_output)
        return
    from xpet.jobs.align import chain as job

    with view.progress(quiet) as on_event:
        result = job.run(config, on_event)
    view.show(align_view.summary(result), result, json_output)


SWEPT = {
    "lang": ("languages", str), "routine": ("routines", str), "loss": ("losses", str),
    "align_weight": ("align_weights", float), "lr": ("learning_rates", float), "seed": ("seeds", int),
}  # fmt: skip
"""Options that are comma lists: their field of AlignConfig, and what an element is."""


def build_config(given: dict[str, Any]) -> AlignConfig:
    """The configuration of the options that were typed, and of nothing else; raises ConfigError."""
    own = dict(given)
    for option in ("shots", "val_shots"):
        if option in own:
            own[option] = o.count_or_all(o.spelled(option), own[option])
    for option in ("modules", "train"):
        own[option] = o.names(o.spelled(option), own.get(option))
    if "corpus" in own:
        own["corpus"] = tuple(own["corpus"]) or None
    swept: dict[str, Any] = {
        field: o.comma_list(o.spelled(option), own[option], parse)
        for option, (field, parse) in SWEPT.items()
        if option in own
    }
    return AlignConfig(
        model=o.part(ModelConfig(), own, text="model", image="image_model"),
        data=o.part(DataConfig(), own, name="data", root="data_root"),
        method=o.part(MethodConfig(), own, name="method"),
        fit=o.part(FitConfig(), own, compile="compile_"),
        text=o.part(TextConfig(), own),
        **{name: own[name] for name in ("out", "overwrite", "image_weight", "start", "preset", "chain") if name in own},
        **swept,
    )  # fmt: skip
