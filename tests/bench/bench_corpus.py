"""Streams made-up English lines into a store of training pairs; prints speed and peak memory at two sizes.

    python -m tests.bench.bench_corpus [--smoke] [--json FILE]

Lines of a file go through read_texts and Cleaner, an identity for a translation, and a made-up encoder (a random
projection of token counts to 512 dimensions) into a PairStore in chunks; then batches are drawn from the store at
random as training does. One line in ten is a repetition. Every size runs in a process of its own.

Peak memory is what the process cannot give back (RssAnon); pages of files that it has mapped come on top as far as
memory is free, and are named beside it. Between the sizes only the Cleaner's set of hashes (12 to 24 bytes a line, a
half more while it grows) may differ.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench.bench_translate import Row

FULL = {"small": 100_000, "large": 1_000_000, "chunk": 8192, "steps": 2000}
SMOKE = {"small": 300, "large": 900, "chunk": 128, "steps": 5}
WIDTH, VOCABULARY, BATCH = 512, 8000, 96
HASHES = 36  # bytes a line: two tables while the set grows
SLACK = 24.0  # MB: the allocators' own
WORDS = (
    "man woman dog cat horse child girl boy bird car bus train boat bike street field beach table chair window ball "
    "red blue green white black brown small large old young wooden sitting standing running riding holding near behind"
).split()


def lines(count: int) -> Iterator[str]:
    """Captions of 8 to 15 words, every tenth one said before."""
    rng = random.Random(0)
    last = "a dog on a beach"
    for number in range(count):
        if number % 10 != 9:
            last = f"a {' '.join(rng.choices(WORDS, k=rng.randint(5, 12)))} with a {number}"
        yield last


def memory(name: str) -> float:
    """A figure of /proc/self/status in MB (Linux)."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(f"{name}:"))
    return int(line.split()[1]) / 1024


def work(corpus: Path, folder: Path, chunk: int, steps: int) -> dict[str, Any]:
    """The whole way of one corpus; its figures."""
    import torch

    from xpet.data.cleaning import Cleaner
    from xpet.data.pairs import PairStore
    from xpet.data.text_corpus import read_texts

    projection = torch.randn(VOCABULARY, WIDTH, generator=torch.Generator().manual_seed(0))
    cleaner = Cleaner(["a dog on a beach"])
    started, peak, base = time.perf_counter(), 0.0, memory("RssAnon")
    with PairStore(folder, "bench", WIDTH) as store:
        kept = cleaner.clean(read_texts([str(corpus)]))
        while part := list(itertools.islice(kept, chunk)):
            rows = [[zlib.crc32(word.encode()) % VOCABULARY for word in line.text.split()] for line in part]
            offsets = torch.tensor([0, *itertools.accumulate(map(len, rows[:-1]))])
            flat = torch.tensor(list(itertools.chain.from_iterable(rows)))
            features = torch.nn.functional.embedding_bag(flat, projection, offsets, mode="sum")
            store.append(rows, features, part[-1].number)
            peak = max(peak, memory("RssAnon"))
        stored, pairs = time.perf_counter() - started, len(store)
        del cleaner, kept  # training begins
        tokens, anchors = store.tokens, store.features
        started, total, train = time.perf_counter(), 0.0, 0.0
        generator = torch.Generator().manual_seed(1)
        for _ in range(steps):
            index = torch.randint(len(store), (BATCH,), generator=generator)
            total += float(anchors[index].sum()) + sum(len(tokens[row]) for row in index.tolist())
            train = max(train, memory("RssAnon"))
    return {
        "pairs": pairs, "seconds": stored, "base": base, "peak": peak, "train": train, "files": memory("RssFile"),
        "rows": steps * BATCH / (time.perf_counter() - started), "finite": total == total,
        "disk": sum(path.stat().st_size for path in folder.iterdir()) / 1e6,
    }  # fmt: skip


def measure(root: Path, count: int, size: dict[str, int]) -> dict[str, Any]:
    """`work` in a process of its own."""
    corpus = root / f"{count}.txt"
    with corpus.open("w") as file:
        file.writelines(f"{line}\n" for line in lines(count))
    arguments = [corpus, root / f"store{count}", size["chunk"], size["steps"]]
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.bench_corpus", "--worker", *map(str, arguments)],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    facts: dict[str, Any] = json.loads(done.stdout)
    assert facts["pairs"] == count - count // 10
    return facts


def main(arguments: list[str] | None = None) -> list[Row]:
    """Measure and print; returns the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only shows that it runs")
    parser.add_argument("--json", help="also write the rows to this file")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        corpus, folder, chunk, steps = options.worker
        sys.stdout.write(json.dumps(work(Path(corpus), Path(folder), int(chunk), int(steps))))
        return []
    size = SMOKE if options.smoke else FULL
    with tempfile.TemporaryDirectory() as root:
        facts = {count: measure(Path(root), count, size) for count in (size["small"], size["large"])}

    def above(figure: str) -> float:
        return max(0.0, facts[size["large"]][figure] - facts[size["small"]][figure])

    most = (size["large"] - size["small"]) * HASHES / 2**20 + SLACK
    rows = [
        Row("streaming: memory of the large above the small", above("peak"), "MB", most=most),
        Row("training: memory of the large above the small", above("train"), "MB", most=SLACK),
    ]
    for count, found in facts.items():
        rows += [
            Row(f"{count:,} lines", count / found["seconds"], "lines/s"),
            Row(f"{count:,} lines: memory before", found["base"], "MB"),
            Row(f"{count:,} lines: peak memory while streaming", found["peak"], "MB"),
            Row(f"{count:,} lines: peak memory while training", found["train"], "MB"),
            Row(f"{count:,} lines: pages of files beside it", found["files"], "MB"),
            Row(f"{count:,} lines: pairs drawn at random", found["rows"], "rows/s"),
            Row(f"{count:,} lines: on disk", found["disk"], "MB"),
        ]
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    sys.stdout.write(f"{os.cpu_count()} cores, load {load}\n" + "".join(f"{row}\n" for row in rows))
    if options.json:
        Path(options.json).write_text(json.dumps([row._asdict() for row in rows], indent=2) + "\n")
    return rows


if __name__ == "__main__":
    main()
