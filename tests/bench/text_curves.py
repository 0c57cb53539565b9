"""R@1 of routine `text` against the number of sentences, and against the noise of their translation; draws both.

    python -m tests.bench.text_curves --lang pl,tr --out curves.json --plot .github/text-only.svg [--smoke]

The demo's English training captions, its own translation packages, no pictures in training or validation; mean R@1 of
the languages on the test split, natural captions. Every point is one run a language (seed 1). What is measured is kept
in the JSON file: run again, only what is missing is measured. The demo world is synthetic.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from xpet.core.config import AlignConfig, DataConfig, FitConfig, MethodConfig, TextConfig
from xpet.jobs.align import run as align

MODULES = ("output.dense",)
METHODS = {
    "LoRA": (MethodConfig("lora", modules=MODULES), 1e-3),
    "LoRA + embedding delta": (
        MethodConfig("lora", modules=MODULES, train=("layernorm", "embeddings"), embedding_rank=8), 1e-3,
    ),
    "adapter": (MethodConfig("adapter"), 1e-3),
    "full": (MethodConfig("full"), 1e-4),
}  # fmt: skip
"""Methods, each with its learning rate."""
LINES = (100, 300, 1000, 3000, None)
NOISE = (0.0, 0.1, 0.2, 0.4)
NOISY = ("LoRA", "LoRA + embedding delta")
SMALLEST_BATCH = 32


def measure(languages: tuple[str, ...], name: str, lines: int | None, noise: float, steps: int) -> dict[str, Any]:
    """One point: mean R@1 before and after, and how many pairs were trained on."""
    method, rate = METHODS[name]
    batch = 96 if lines is None or lines >= 300 else SMALLEST_BATCH
    with tempfile.TemporaryDirectory() as folder:
        result = align.run(AlignConfig(
            languages=languages, data=DataConfig(shots=100), method=method, routines=("text",),
            losses=("mse-normalized",), learning_rates=(rate,), out=str(Path(folder) / "run"),
            fit=FitConfig(batch_size=batch, steps=steps, device="cpu"),
            text=TextConfig(lines=lines, noise=noise, validate_on="text"),
        ))  # fmt: skip
    return {
        "method": name, "lines": lines, "noise": noise, "steps": steps,
        "pairs": statistics.fmean(facts["pairs"] for facts in result.text.values()),
        "before": statistics.fmean(found.target_before for found in result.languages),
        "after": statistics.fmean(found.aligned for found in result.languages),
        "by_language": {found.language: found.aligned for found in result.languages},
    }  # fmt: skip


def draw(points: list[dict[str, Any]], path: Path, languages: tuple[str, ...]) -> None:
    """Two panels: sentences on a logarithmic axis, and noise."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "xpet"}  # small, and the same every time
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for name in METHODS:
        own = sorted((p["pairs"], p["after"]) for p in points if p["method"] == name and not p["noise"])
        left.plot(*zip(*own, strict=True), marker="o", label=name)
    for name in NOISY:
        noisy = sorted((100 * p["noise"], p["after"]) for p in points if p["method"] == name and p["lines"] is None)
        right.plot(*zip(*noisy, strict=True), marker="o", label=name)
    for axes in (left, right):
        axes.axhline(points[0]["before"], color="grey", linestyle=":", label="before")
        axes.grid(alpha=0.3)
    left.set(xscale="log", xlabel="translated sentences", ylabel=f"R@1 of {', '.join(languages)}")
    right.set(xlabel="degraded words of the translation, %")
    left.legend(fontsize=8)
    title = f"Routine text on the (synthetic) demo, {points[0]['steps']} steps, seed 1: no pictures"
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Measure what is missing, then draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lang", default="pl,tr")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--out", default="text-curves.json")
    parser.add_argument("--plot")
    parser.add_argument("--smoke", action="store_true", help="two points of two steps")
    asked = parser.parse_args()
    languages, steps = tuple(asked.lang.split(",")), 2 if asked.smoke else asked.steps
    wanted = [(name, lines, 0.0) for name in METHODS for lines in LINES]
    wanted += [(name, None, noise) for name in NOISY for noise in NOISE if noise]
    if asked.smoke:
        languages, wanted = languages[:1], [("LoRA", 100, 0.0), ("LoRA + embedding delta", 100, 0.1)]
    out = Path(asked.out)
    points: list[dict[str, Any]] = json.loads(out.read_text("utf-8")) if out.exists() else []
    for name, lines, noise in wanted:
        if (name, lines, noise) in {(p["method"], p["lines"], p["noise"]) for p in points}:
            continue
        points.append(measure(languages, name, lines, noise, steps))
        print(f"{name:24} {lines or 'all':>5} noise {noise:.1f}: {points[-1]['after']:.1f}", flush=True)  # noqa: T201
        if not asked.smoke:
            out.write_text(json.dumps(points, indent=2) + "\n", "utf-8")
    if asked.plot and not asked.smoke:
        draw(points, Path(asked.plot), languages)


if __name__ == "__main__":
    main()
