"""Draws a contact sheet of test pictures and lists their captions: `python -m xpet.demo.sheet FILE.png`."""

from __future__ import annotations

import sys
from pathlib import Path

from xpet.core.captions import ReadRequest
from xpet.demo import assets, reader
from xpet.demo.backdrops import SIDE
from xpet.demo.pictures import picture

PICTURES = 6
SCALE = 3
GAP = 8
LANGUAGES = ("en", "de", "ja", "pl", "tr")


def write(path: Path) -> str:
    """Write the sheet (one row of pictures); returns a Markdown table of their captions."""
    from PIL import Image

    rows = assets.split_ranges()["test"][:PICTURES]
    side = SIDE * SCALE
    sheet = Image.new("RGB", (PICTURES * (side + GAP) - GAP, side), "white")
    for column, number in enumerate(rows):
        tile = picture(assets.scenes()[number]).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(tile, (column * (side + GAP), 0))
    sheet.save(path)
    captions = reader.read(ReadRequest(languages=LANGUAGES)).splits["test"].captions
    lines = ["| " + " | ".join(LANGUAGES) + " |", "|" + "---|" * len(LANGUAGES)]
    lines += ["| " + " | ".join(captions[lang].slot("target")[i] for lang in LANGUAGES) + " |" for i in range(PICTURES)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(write(Path(sys.argv[1])))
