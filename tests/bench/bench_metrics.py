"""Times xpet's metrics and statistics against the reference's metric and CLIP_benchmark's recall, in one process.

    python -m tests.bench.bench_metrics [--what reference|clipbench|bootstrap|huge|all] [--device cpu|cuda] [--smoke]
        [--json FILE]

`reference`: recall_k of the paper's code (top-1 of the score matrix and of its transpose, then a Python loop over the
rows). `clipbench`: recall@k as CLIP_benchmark defines it, in two forms written from the definition: with a one-hot of
the top k, as it does, and leaner, with a look-up. `huge`: 100,000 images by 100,000 captions (not part of `all`), the
only one that --device cuda moves to a GPU: features included, as `xpet eval` copies them.
Ratios come first: other work on the machine moves both sides alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from tests.bench.meter import Peak
from xpet.core.metrics import retrieval
from xpet.core.ranking import count_around
from xpet.core.resampling import Resamples
from xpet.core.statistics import estimate

DIMS = 512
KS = (1, 5, 10)
LANGUAGES = ("en", "de", "fr", "es", "it", "ja", "ko", "pl", "ru", "tr", "zh")


def features(images: int, captions: int = 1, noise: float = 6.0, dims: int = DIMS) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts near them, and owners."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(images, dims, generator=generator)
    owner = torch.arange(images).repeat_interleave(captions)
    text = image[owner] + noise * torch.randn(len(owner), dims, generator=generator)
    return normalize(image), normalize(text), owner


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work()
    return time.perf_counter() - started, found


def recall_k(scores: Tensor) -> float:
    """The reference's metric for k = 1: mean of both directions."""
    labels = torch.arange(float(len(scores)))
    found = 0.0
    for table in (scores, scores.T):
        correct = 0
        for true, top in zip(labels, table.topk(1).indices, strict=True):
            if true in top:
                correct += 1
        found += correct / len(scores) / 2
    return found


def ranks_of(scores: Tensor) -> float:
    """xpet's counting alone, both directions, on a finished matrix; R@1 from it."""
    own, none = scores.diagonal(), torch.zeros(0, dtype=torch.int64)
    both = [count_around(table, own, none)[0] for table in (scores, scores.T.contiguous())]
    return sum(float((greater == 0).double().mean()) for greater in both) / 2


def reference(smoke: bool) -> list[dict[str, Any]]:
    return [
        _reference(size, repeats) for size, repeats in (((200, 2), (500, 1)) if smoke else ((1000, 5), (20_000, 1)))
    ]


def _reference(size: int, repeats: int) -> dict[str, Any]:
    image, text, _ = features(size)
    runs = []
    for _ in range(repeats):
        product, scores = timed(lambda: image @ text.T)
        metric, theirs = timed(lambda table=scores: recall_k(table))
        counting, counted = timed(lambda table=scores: ranks_of(table))
        reading, _ = timed(lambda table=scores: table.amax(dim=1))
        del scores
        whole, found = timed(lambda: retrieval(image, text))
        runs.append((product, metric, counting, reading, whole))
    product, metric, counting, reading, whole = (statistics.median(column) for column in zip(*runs, strict=True))
    return {
        "images": size,
        "ratio on a finished matrix": metric / counting,
        "ratio from features": (product + metric) / whole,
        "reference s": metric,
        "xpet counting s": counting,
        "matrix product s": product,
        "xpet from features s": whole,
        "reading the matrix once s": reading,
        "largest difference": max(abs(theirs - found.recall / 100), abs(theirs - counted)),
    }


def recall_at_k(scores: Tensor, right: Tensor, k: int, lean: bool) -> float:
    """Share of rows with a right column among the k best, in batches of 64 rows."""
    found = 0
    for start in range(0, len(scores), 64):
        block, mine = scores[start : start + 64], right[start : start + 64]
        top = block.topk(k, dim=1).indices
        if lean:
            found += int(mine.gather(1, top).any(dim=1).sum())
        else:
            found += int(((one_hot(top, scores.shape[1]) * mine.unsqueeze(1)).sum(dim=(1, 2)) > 0).sum())
    return found / len(scores)


def clip_benchmark(image: Tensor, text: Tensor, owner: Tensor, lean: bool) -> list[float]:
    """Image retrieval and text retrieval at every k."""
    scores = text @ image.T
    right = torch.zeros_like(scores, dtype=torch.bool)
    right[torch.arange(len(text)), owner] = True
    return [recall_at_k(s, r, k, lean) for k in KS for s, r in ((scores, right), (scores.T, right.T))]


def clipbench(smoke: bool) -> list[dict[str, Any]]:
    return [_clipbench(*size) for size in (((60, 2), (100, 5)) if smoke else ((1000, 1), (1000, 5), (5000, 5)))]


def _clipbench(images: int, captions: int) -> dict[str, Any]:
    """Times in single precision; values in double, where rounding does not decide between neighbours."""
    image, text, owner = features(images, captions)
    ways: dict[str, Callable[[], Any]] = {
        "xpet": lambda: retrieval(image, text, owner),
        "lean": lambda: clip_benchmark(image, text, owner, lean=True),
        "one-hot": lambda: clip_benchmark(image, text, owner, lean=False),
    }
    if images > 1000:
        del ways["one-hot"]  # minutes
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(1 if images > 1000 else 7):
        for name, way in ways.items():
            times[name].append(timed(way)[0])
    own, theirs = statistics.median(times["xpet"]), clip_benchmark(image.double(), text.double(), owner, lean=True)
    found = retrieval(image.double(), text.double(), owner)
    mine = [float(search.ranks.hits(k).mean()) for k in KS for search in reversed(found.directions)]
    return {
        "images": images,
        "captions": images * captions,
        **{f"ratio to {name}": statistics.median(times[name]) / own for name in ways if name != "xpet"},
        "xpet s": own,
        "largest difference": max(abs(a - b) for a, b in zip(mine, theirs, strict=True)),
        "recalls": [round(value, 4) for value in mine],
    }


def bootstrap(smoke: bool) -> list[dict[str, Any]]:
    images, count = (100, 500) if smoke else (1000, 10_000)
    image, _, _ = features(images, dims=64)
    generator = torch.Generator().manual_seed(1)
    found = {
        lang: retrieval(image, image + (0.1 + 0.05 * i) * torch.randn(image.shape, generator=generator))
        for i, lang in enumerate(LANGUAGES)
    }
    groups = {"latin": ("en", "de", "fr", "es", "it", "pl", "tr"), "other": ("ja", "ko", "ru", "zh")}
    busy = time.process_time()
    runs = [timed(lambda: estimate(found, Resamples(images, count), groups))[0] for _ in range(3)]
    busy = time.process_time() - busy
    plain, _ = timed(lambda: estimate(found, None, groups))
    return [{
        "images": images, "languages": len(LANGUAGES), "resamples": count, "bar s": 5.0,
        "seconds": statistics.median(runs), "fastest s": min(runs), "CPU s": busy / len(runs),
        "without intervals s": plain,
    }]  # fmt: skip


def huge(smoke: bool, device: str = "cpu") -> list[dict[str, Any]]:
    size = 3000 if smoke else 100_000
    image, text, owner = features(size)
    image = image.to(device)
    search = lambda: retrieval(image, text.to(device), owner)  # noqa: E731
    if device == "cuda":
        search()  # the first search of a process loads what it computes with
    peak = Peak(device)
    busy = time.process_time()
    seconds, found = timed(search)
    busy = time.process_time() - busy
    work = 2 * 2 * size * size * DIMS
    return [{
        "images": size, "captions": size, "seconds": seconds, "CPU s": busy, "GiB beyond the features": peak.gib(),
        "GFLOP/s": work / seconds / 1e9, "recall": found.recall, "features GiB": 2 * image.nbytes / 2**30,
        "device": device,
    }]  # fmt: skip


PARTS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "reference": reference, "clipbench": clipbench, "bootstrap": bootstrap,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", default="all", choices=(*PARTS, "huge", "all"))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="of the part huge")
    parser.add_argument("--smoke", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; nothing was measured")
    names = list(PARTS) if options.what == "all" else [options.what]
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "torch": torch.__version__, "smoke": options.smoke}
    for name in names:
        results[name] = huge(options.smoke, options.device) if name == "huge" else PARTS[name](options.smoke)
        for row in results[name]:
            line = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            sys.stdout.write(f"{name:<10} {line}\n")
            sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
