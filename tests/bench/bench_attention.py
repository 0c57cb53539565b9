"""Packed captions with a mask and by sequence: which takes less time, and what `xpet.core.line_shapes` takes.

    python -m tests.bench.bench_attention [--size tiny|base|large] [--device cpu|cuda] [--precision fp32|tf32|bf16]
        [--runs 32] [--captions 16] [--repeats 5] [--out FILE.json] [--smoke]

A row is a span of lengths, drawn evenly: milliseconds of a forward and backward of the whole tower with a mask and by
sequence, the share of filler, and which of both is taken for such captions. A device that has no kernel for sequences,
as a CPU, has no time for them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.bench import meter
from tests.bench.setting import SIZES, text_tower
from xpet.core.caption_packing import PackedBatch, pack
from xpet.core.line_shapes import LineShapes
from xpet.models.text_tower import TextTower

SPANS = {"12 to 30": (12, 30), "20 to 64": (20, 64), "40 to 128": (40, 128), "80 to 320": (80, 320)}
"""Tokens of the shortest and the longest caption; XTD's are those of the first span."""
WAYS = {"mask": LineShapes(by_sequence=False, few=True), "sequences": LineShapes(by_sequence=True, few=True)}


def captions(span: tuple[int, int], runs: int, count: int) -> list[list[list[int]]]:
    """Token ids of `count` captions of each run, always the same."""
    rng = random.Random(0)
    return [[[5] * rng.randint(*span) for _ in range(count)] for _ in range(runs)]


def milliseconds(tower: TextTower, batch: PackedBatch, device: str, repeats: int) -> float:
    """Of a forward and backward, the quickest of `repeats` after one that sets up what is set up once."""
    batch = batch.to(lambda tensor: tensor.to(device))

    def work() -> None:
        tower.packed(batch).float().square().sum().backward()

    work()
    return 1000 * min(meter.seconds(work, device) for _ in range(repeats))


def measure(tower: TextTower, name: str, rows: Sequence[Sequence[Sequence[int]]], device: str, repeats: int) -> Any:
    """One row of the table."""
    width, dtype = int(tower.transformer.config.hidden_size), next(tower.parameters()).dtype  # type: ignore[union-attr, arg-type]
    row: dict[str, Any] = {"tokens": name}
    tokens = sum(len(caption) for run in rows for caption in run)
    takes = tower.takes_sequences(torch.device(device), dtype)
    for way, shapes in WAYS.items():
        if way == "mask" or takes:
            batch = pack(rows, 0, width, shapes)
            row[f"{way} ms"] = milliseconds(tower, batch, device, repeats)
            row[f"{way} filler"] = 1 - tokens / batch.ids.numel()
    chosen = pack(rows, 0, width, LineShapes(by_sequence=None if takes else False, few=True))
    return {**row, "taken": "mask" if chosen.bounds is None else "sequences"}


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and write the rows that are returned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=tuple(SIZES))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--precision", default="fp32", choices=tuple(meter.DTYPES))
    parser.add_argument("--runs", type=int, default=32)
    parser.add_argument("--captions", type=int, default=16, help="of each run")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true", help="few captions: only shows that it runs")
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; nothing was measured")
    torch.backends.cuda.matmul.allow_tf32 = given.precision == "tf32"
    tower = text_tower(SIZES[given.size], given.device, meter.DTYPES[given.precision])
    tower.transformer.embeddings.LayerNorm.weight.requires_grad_(True)  # type: ignore[union-attr, operator]
    runs, count, repeats = (2, 4, 1) if given.smoke else (given.runs, given.captions, given.repeats)
    longest = SIZES[given.size].positions - 2
    title = f"{given.size}, {given.precision}, {given.device}: {runs} runs of {count} captions, forward and backward"
    document: dict[str, Any] = {"machine": meter.machine(given.device), "title": title, "rows": []}
    for name, span in SPANS.items():
        if span[1] <= longest:
            rows = captions(span, runs, count)
            document["rows"].append(measure(tower, name, rows, given.device, repeats))
            meter.write(given.out, document)
    meter.show(title, document["rows"], ["taken: which of both xpet takes for such captions"])
    return document["rows"]  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
