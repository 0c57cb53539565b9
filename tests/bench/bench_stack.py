"""Times a stack of runs against the same runs trained one by one with plain OpenDelta, in one process.

    python -m tests.bench.bench_stack [--runs 8] [--steps 40] [--method lora]

"Plain" is what a user would write: OpenDelta attached to the tower, torch.optim.Adam, student and pivot texts encoded
in two forwards padded to their batch, tokenised in every step, image features already at hand. Prints ratios.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import torch

from tests import towers
from xpet.core.captions import ReadRequest
from xpet.core.config import FitConfig, MethodConfig, RunConfig
from xpet.core.losses import contrastive, mse
from xpet.demo import assets, reader
from xpet.methods.stack import build_stack
from xpet.models.checkpoint import load_text_tower
from xpet.training.device import make_engine
from xpet.training.fit import RunData, fit

LANGUAGES = ("de", "fr", "es", "it", "ja", "ko", "pl", "ru", "tr", "zh")
BATCH = 20


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--method", default="lora", choices=("lora", "adapter", "compacter", "bitfit"))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    method = MethodConfig(options.method, reduction=8 if options.method == "compacter" else 16)
    train = reader.read(ReadRequest()).splits["train"].take(range(100))
    images = torch.randn(100, 128, generator=torch.Generator().manual_seed(0))
    runs = [RunConfig(LANGUAGES[i % len(LANGUAGES)], "routine1", seed=i) for i in range(options.runs)]
    config = FitConfig(batch_size=BATCH, steps=options.steps, validate_every=10**9, include_start=False)
    texts = {r.language: [list(train.captions[r.language].slot(s)) for s in ("target", "pivot")] for r in runs}

    def plain() -> None:
        for run in runs:
            loaded = load_text_tower(assets.TEXT_TOWER)
            parameters = list(towers.plain_delta(loaded.tower, method, run.seed).values())
            target, pivot = texts[run.language]
            optimiser = torch.optim.Adam(parameters, lr=1e-3)
            order = torch.randperm(100, generator=torch.Generator().manual_seed(run.seed)).tolist()
            for step in range(options.steps):
                rows = [order[(step * BATCH + k) % 100] for k in range(BATCH)]
                student, anchor = (
                    loaded.tower(*loaded.tokenizer.pad(loaded.tokenizer.encode([column[i] for i in rows])))
                    for column in (target, pivot)
                )
                loss = contrastive(images[rows], student) + 0.1 * mse(images[rows], anchor, student)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

    def stacked(size: int) -> None:
        loaded = load_text_tower(assets.TEXT_TOWER)
        stack = build_stack(loaded.tower, method, [1])
        encode = loaded.tokenizer.encode
        for start in range(0, len(runs), size):
            group = runs[start : start + size]
            stack.reset([r.seed for r in group])
            tokens = [[encode(column) for column in texts[run.language]] for run in group]
            data = [RunData(s, a, images, [[0, 2]] * 2, images[:2], torch.arange(2)) for s, a in tokens]
            fit(stack, list(zip(group, data, strict=True)), config, loaded.tokenizer.pad, make_engine("cpu"))

    ways = {"plain OpenDelta, one by one": plain, "xpet, stack of 1": lambda: stacked(1)}
    ways[f"xpet, stack of {options.runs}"] = lambda: stacked(options.runs)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - started)
    base = statistics.median(times["plain OpenDelta, one by one"])
    threads = torch.get_num_threads()
    sys.stdout.write(f"{options.method}, {options.runs} runs x {options.steps} steps, {threads} threads\n")
    for name, values in times.items():
        middle = statistics.median(values)
        per = 1000 * middle / options.runs / options.steps
        sys.stdout.write(f"{name:<30} {per:7.1f} ms per run and step   {base / middle:5.2f} x\n")


if __name__ == "__main__":
    main()
