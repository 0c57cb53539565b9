"""What routine `text` costs: captions per second and peak memory, of training and of the frozen English features.

    python -m tests.bench.bench_text [--size tiny,base] [--device cpu|cuda] [--precision fp32] [--batch 96]
        [--runs 1,10] [--steps 12] [--smoke] [--out FILE.json]

Sizes: `tiny` is the demo's tower, `base` 768 x 12 (XLM-R Base), `large` 1024 x 24 (XLM-R Large); random weights,
made-up captions as long as XTD's German ones, which is what speed depends on. Training is xpet's own: a stack of
`--runs` runs through `fit`, mse-normalized against frozen features, validation left out; a step reads `--batch`
captions a run. Peak memory is that of a process of its own for every row (its whole resident set), on a GPU the GPU's.

On a GPU: python -m tests.bench.bench_text --device cuda --size large --batch 256 --runs 1,10
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from tests.bench import meter
from tests.bench.ours import NEVER
from tests.bench.setting import SIZES, drawn_lengths, made_up, text_tower, word_tokenizer
from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.methods.build import build_stack
from xpet.methods.stack import Stack
from xpet.models.encode import encode_texts
from xpet.models.tokenizer import TextTokenizer
from xpet.training.device import make_engine
from xpet.training.fit import fit
from xpet.training.queue import RunData

METHODS = {
    "LoRA on query and value": MethodConfig("lora"),
    "LoRA and embedding delta, rank 32": MethodConfig("lora", train=("layernorm", "embeddings")),
    "LoRA on output.dense": MethodConfig("lora", modules=("output.dense",)),
}
ENGLISH = "English features, once for all languages"
WARM = 2
"""Steps before those that are timed."""
LANGUAGE = "de"


def work(given: argparse.Namespace, size: str, name: str, runs: int) -> dict[str, Any]:
    """One row, in this process."""
    tower = text_tower(SIZES[size])
    tokenizer = TextTokenizer(word_tokenizer(SIZES[size].positions - 2).backend_tokenizer, SIZES[size].positions - 2, 1)
    count = given.batch * (WARM + given.steps)
    if name == ENGLISH:
        texts = made_up(drawn_lengths(LANGUAGE, "pivot", count), "English")
        tower = tower.to(given.device)
        encode_texts(tower, tokenizer, texts[: given.batch])
        spent = meter.seconds(lambda: encode_texts(tower, tokenizer, texts), given.device)
        return _row(given, size, name, runs, count / spent, 0)
    texts = made_up(drawn_lengths(LANGUAGE, "from_pivot", count), "translated")
    stack = build_stack(tower, METHODS[name], [1]).to(make_engine(given.device, given.precision).device)
    per_second = _training(given, size, stack, tokenizer, tokenizer.encode(texts), runs)
    return _row(given, size, name, runs, per_second, stack.trainable)


def _training(
    given: argparse.Namespace, size: str, stack: Stack, tokenizer: TextTokenizer, tokens: list[list[int]], runs: int
) -> float:
    """Captions per second over all runs: the difference of a long and a short fit."""
    frozen = torch.randn(len(tokens), SIZES[size].dims, generator=torch.Generator().manual_seed(0))
    data = RunData(
        student=tokens, anchor=None, image=None, anchor_features=_Rows(frozen), only_full_batches=True,
        val_text=tokens[:2], val_image=frozen[:2], val_image_index=torch.arange(2),
    )  # fmt: skip
    group = [
        (RunConfig(LANGUAGE, "text", "mse-normalized", 1.0, seed=1 + run, image_weight=0.0), data)
        for run in range(runs)
    ]
    own = sorted({token for row in tokens for token in row})
    engine = make_engine(given.device, given.precision)

    def spent(steps: int) -> float:
        stack.reset([run.seed for run, _ in group], [own] * runs)
        config = FitPlan(batch_size=given.batch, steps=steps, validate_every=NEVER, include_start=False)
        return meter.seconds(lambda: fit(stack, group, config, tokenizer.pad, engine), given.device)

    short = spent(WARM)
    return runs * given.batch * given.steps / (spent(WARM + given.steps) - short)


class _Rows:
    """Feature rows, as they are read from a store."""

    def __init__(self, features: torch.Tensor) -> None:
        self.features = features

    def __getitem__(self, rows: Any, /) -> torch.Tensor:
        return self.features[list(rows)]


def _row(given: argparse.Namespace, size: str, name: str, runs: int, per_second: float, trained: int) -> dict[str, Any]:
    peak = torch.cuda.max_memory_allocated() / meter.GIB if given.device == "cuda" else meter.resident()
    return {
        "tower": size, "what": name, "runs": runs, "captions/s": per_second, "peak GiB": peak,
        "trained": f"{trained:,}" if trained else None,
    }  # fmt: skip


def alone(given: argparse.Namespace, arguments: list[str], size: str, name: str, runs: int) -> dict[str, Any]:
    """`work` in a process of its own, for its memory; in this one where figures mean nothing."""
    if given.smoke:
        return work(given, size, name, runs)
    command = [sys.executable, "-m", "tests.bench.bench_text", *arguments, "--worker", size, name, str(runs)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and write the document that is returned."""
    arguments = sys.argv[1:] if arguments is None else arguments
    given = parser().parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; nothing was measured")
    if given.smoke:
        given.size, given.runs, given.batch, given.steps = "tiny", "2", 8, 2
    if given.worker:
        size, name, runs = given.worker
        sys.stdout.write(json.dumps(work(given, size, name, int(runs))))
        return {}
    rows = []
    load = os.getloadavg()[0]
    for size in given.size.split(","):
        rows.append(alone(given, arguments, size, ENGLISH, 1))
        for name in METHODS:
            rows += [alone(given, arguments, size, name, int(runs)) for runs in given.runs.split(",")]
    facts = meter.machine(given.device)
    notes = [f"{key} {value}" for key, value in facts.items()]
    notes.append(f"{given.precision}, {given.batch} captions a run and step, load before {load:.1f}")
    meter.show("routine text", rows, notes)
    document = {
        "machine": facts,
        "batch": given.batch,
        "precision": given.precision,
        "smoke": given.smoke,
        "rows": rows,
    }
    meter.write(given.out, document)
    return document


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--size", default="tiny,base", help=f"of {', '.join(SIZES)}; comma-separated")
    made.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    made.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16"))
    made.add_argument("--batch", type=int, default=96, help="captions of a run in a step")
    made.add_argument("--runs", default="1,10", help="runs side by side; comma-separated")
    made.add_argument("--steps", type=int, default=12, help="steps that are timed")
    made.add_argument("--smoke", action="store_true", help="smallest sizes: only shows that it runs")
    made.add_argument("--out", type=Path, help="write the results to this file")
    made.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    return made


if __name__ == "__main__":
    main()
