"""A process that translates with others; run by test_shared_work."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.translation.test_store import Upper
from xpet.core.config import DataConfig, TranslateConfig, TranslateDataConfig
from xpet.core.events import Progress
from xpet.core.processes import connected, here
from xpet.jobs.translate import data_set, run
from xpet.translation.bulk import Bulk
from xpet.translation.cache import Cache, Entry

LINES = [f"line {number} of {number % 7}" for number in range(1000)]
"""More than two batches for each of two processes."""


class Lower(Upper):
    """A second hop."""

    identity, source, target = "lower", "en", "ja"


def hops(cache: Path) -> dict[str, Any]:
    """A chain of two translators over lines of which some are in the cache."""
    first, second = Upper(), Lower()
    done: list[int] = []
    with Cache(cache) as store:
        bulk = Bulk([first, second], store, here())
        entries = bulk.translate([*LINES, "", LINES[3]], done.append)
    return {
        "entries": entries, "counts": asdict(bulk.counts), "first": first.seen, "second": second.seen, "done": done,
    }  # fmt: skip


def hammer(cache: Path, rank: int) -> dict[str, Any]:
    """Write and read a new cache together with another process."""
    lines = [f"{number}" for number in range(400)]
    right = []
    for start in range(0, 400, 10):
        with Cache(cache) as store:
            part = lines[start : start + 10]
            store.put("s", [(line, Entry(f"{line}!")) for line in part])
            found = store.get("s", lines)
            right.append({*part} <= found.keys() and all(entry.text == f"{line}!" for line, entry in found.items()))
    return {"right": right}


def translate(folder: Path, out: Path) -> dict[str, Any]:
    """A file and a data set, translated with toy packages: the results without their times, and events heard."""
    events: list[Any] = []
    file = TranslateConfig("de", "ja", file=str(folder / "in.txt"), out=str(out / "file.txt"), device="cpu")
    data = DataConfig(name="table", root=str(folder / "captions.jsonl"))
    columns = TranslateDataConfig(("de",), data, "to-pivot", out=str(out / "data"), device="cpu")
    results: list[Any] = [run.run(file, events.append), data_set.run(columns, events.append)]
    heard = sum(isinstance(event, Progress) for event in events)
    return {"results": [{**asdict(result), "seconds": 0} for result in results], "events": heard}


def main(folder: Path) -> None:
    """Print one JSON object: what this process saw."""
    with connected(60) as processes:
        seen: dict[str, Any] = {"rank": processes.rank}
        seen["hops"] = hops(folder / "cache")
        seen["own"] = hops(folder / f"cache {processes.rank}")
        processes.barrier("the caches of all")
        seen["hammered"] = hammer(folder / "hammered", processes.rank)
        run.CHUNK = 50  # so that there are several
        seen["translated"] = translate(folder, folder / "two")
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
