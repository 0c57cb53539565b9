"""Draws README's picture from a sweep's own numbers: R@1 of every language before and after alignment, as SVG.

    xpet align --lang all --routine text ... --out runs       (whole on the page of the benchmarks)
    python -m tests.bench.lifted runs/summary.json xpet/demo/lifted.svg

The same summary gives the same bytes. Colours follow the reader's light or dark setting; the picture brings its own
background, so that it can be read where that setting and the page around it differ.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

NAMES = {
    "en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "ja": "Japanese",
    "ko": "Korean", "pl": "Polish", "ru": "Russian", "tr": "Turkish", "zh": "Chinese",
}  # fmt: skip
WIDTH, LEFT, RIGHT, TOP, ROW, BOTTOM = 720, 130, 40, 74, 24, 46
TICKS = range(0, 101, 20)
STYLE = """\
.page{fill:#fff;stroke:#d0d7de}.text{fill:#1f2328}.faint{fill:#59636e}.line{stroke:#d0d7de}.gain{stroke:#54aeff}
.before{fill:#fff;stroke:#59636e}.after{fill:#0969da}.english{stroke:#bf8700}
text{font:13px system-ui,sans-serif}.halo{stroke:#fff;stroke-width:4px;paint-order:stroke}
.title{font-size:16px;font-weight:600}.code{font:12px ui-monospace,monospace}
@media(prefers-color-scheme:dark){
.page{fill:#0d1117;stroke:#3d444d}.halo{stroke:#0d1117}.text{fill:#f0f6fc}.faint{fill:#9198a1}.line{stroke:#3d444d}.gain{stroke:#1f6feb}
.before{fill:#0d1117;stroke:#9198a1}.after{fill:#58a6ff}.english{stroke:#d29922}}"""


def draw(summary: Mapping[str, Any]) -> str:
    """The picture of an align summary: a row a language, the weakest first, and English as a dashed line."""
    rows = sorted(summary["languages"], key=lambda row: row["target_before"])
    bottom = TOP + ROW * len(rows)
    parts = [
        f'<text class="title text" x="20" y="30">R@1 before and after, {_world(summary)}</text>',
        f'<text class="faint" x="20" y="50">{escape(_setting(summary, rows[0]))}</text>',
        *(_tick(value, bottom) for value in TICKS),
        *_english(summary["english_before"], bottom),
        *(_row(row, TOP + ROW * i + ROW / 2) for i, row in enumerate(rows)),
        f'<text class="faint" x="20" y="{bottom + 36}">{escape(_disparity(summary))}</text>',
    ]
    height = bottom + BOTTOM
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="R@1 of each language before and after alignment">',
        f"<style>{STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
        *parts, "</svg>", "",
    ])  # fmt: skip


def _world(summary: Mapping[str, Any]) -> str:
    return "synthetic demo world" if summary["synthetic"] else escape(str(summary["data"]))


def _setting(summary: Mapping[str, Any], row: Mapping[str, Any]) -> str:
    seeds = len(row["seeds"])
    return (
        f"{row['routine'].replace('routine', 'routine ')}, {row['loss']}, {summary['method']}, {summary['shots']} "
        f"shots, mean of {seeds} seed{'s'[: seeds > 1]}; {summary['share']:.1f} % of the parameters trained"
    )


def _disparity(summary: Mapping[str, Any]) -> str:
    before, after = summary["before"], summary["after"]
    told = [f"{name} {before[name]:.1f} -> {after[name]:.1f}" for name in ("mean", "range", "std")]
    return f"Over these languages and English: {', '.join(told)}".replace("->", "\u2192")


def _x(value: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * value / 100, 1)


def _tick(value: int, bottom: int) -> str:
    x = _x(value)
    return (
        f'<line class="line" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>'
        f'<text class="faint" x="{x}" y="{bottom + 16}" text-anchor="middle">{value}</text>'
    )


def _english(value: float | None, bottom: int) -> list[str]:
    if value is None:
        return []
    x = _x(value)
    return [
        f'<line class="english" stroke-dasharray="4 3" x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}"/>'
        f'<text class="text" x="{x}" y="{TOP - 6}" text-anchor="middle">English {value:.1f}</text>'
    ]


def _row(row: Mapping[str, Any], y: float) -> str:
    code, low, high = row["language"], row["target_before"], row["aligned"]
    x, end = _x(low), _x(high)
    near = abs(end - x) < 12  # the numbers stand outside of both dots
    return (
        f'<text class="text" x="20" y="{y + 4}">{NAMES.get(code, code)}</text>'
        f'<text class="faint code" x="{LEFT - 34}" y="{y + 4}">{code}</text>'
        f'<line class="gain" stroke-width="4" x1="{x}" y1="{y}" x2="{end}" y2="{y}"/>'
        f'<circle class="before" stroke-width="2" cx="{x}" cy="{y}" r="5"/>'
        f'<text class="faint" x="{x - 10 - 4 * near}" y="{y + 4}" text-anchor="end">{low:.0f}</text>'
        f'<circle class="after" cx="{end}" cy="{y}" r="5.5"/>'
        f'<text class="text halo" x="{end + 10}" y="{y + 4}">{high:.0f}</text>'
    )


def main() -> None:
    """Read the summary, write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("summary", type=Path, help="summary.json of xpet align")
    parser.add_argument("picture", type=Path, help="the SVG file to write")
    given = parser.parse_args()
    given.picture.write_text(draw(json.loads(given.summary.read_text("utf-8"))), "utf-8")


if __name__ == "__main__":
    main()
