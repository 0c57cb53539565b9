"""A process of a world that trains one configuration after another with the others; run by test_processes."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.jobs.conftest import FIT, World
from xpet.core.config import AlignConfig
from xpet.core.errors import XpetError
from xpet.core.events import Notice
from xpet.jobs.align import chain as align

SEEDS = (1, 2, 3, 4)


def configurations(world: World, folder: Path) -> dict[str, AlignConfig]:
    """What is trained, by name; each in a folder of its name."""
    fit = replace(FIT, stack=2, workers=1)
    named = {
        "sweep": world.config(folder / "sweep", "de", "tr", seeds=SEEDS[:3], fit=fit),
        "single": world.config(folder / "single", "de"),
        "full": world.config(folder / "full", "de", method="full"),
        "stopped": world.config(folder / "stopped", seeds=SEEDS, fit=fit),
        "diverging": world.config(folder / "diverging", seeds=(1, 2), learning_rates=(1e-3, 1e30), fit=fit),
        "fitted": world.config(folder / "fitted", "de", "tr", method="linear-map", routines=("1",), seeds=SEEDS[:2]),
        "hopeless": world.config(folder / "hopeless", learning_rates=(1e30,)),
        "taken": world.config(folder / "sweep", seeds=SEEDS, fit=fit),
        "again": world.config(folder / "sweep", "de", "tr", seeds=SEEDS[1:4], fit=fit, overwrite=True),
    }
    return named


def main(folder: Path, text: str, table: str, features: str, *names: str) -> None:
    """Print one JSON line: by name the result, or the error that ended it, and what was heard."""
    seen: dict[str, Any] = {"rank": int(os.environ["RANK"])}
    named = configurations(World(Path(text), Path(table), Path(features)), folder)
    for name in names:
        heard: list[str] = []
        try:
            result = align.run(named[name], lambda e, h=heard: h.append(e.text) if isinstance(e, Notice) else None)  # type: ignore[misc]
            seen[name] = {"result": json.loads(json.dumps(result.to_dict())), "heard": heard}
        except XpetError as error:
            seen[name] = {"error": [type(error).__name__, str(error), error.exit_code]}
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
