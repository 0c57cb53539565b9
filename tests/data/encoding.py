"""A process that encodes pictures with others, or beside one that damages parts; run by test_features_shared."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

import torch

from tests.data.test_features import Pictures, Tower, truth
from xpet.core.events import Notice, Progress
from xpet.core.processes import ALONE, Processes, connected
from xpet.data import features

NAMES = [f"p{number}" for number in range(130)]
"""More than two batches of the four pictures that are encoded at a time, and more than one part each."""
ROUNDS = 40


class ManyPictures(Pictures):
    """Pictures p0 to p129."""

    def __init__(self) -> None:
        super().__init__()
        self.grey = {name: number for number, name in enumerate(NAMES)}
        self.hashed: list[str] = []

    def digest(self, name: str) -> str:
        """The digest of a picture, which is counted."""
        self.hashed.append(name)
        return super().digest(name)


def encode(store: Path, processes: Processes, dimensions: int = 4, names: list[str] = NAMES) -> dict[str, Any]:
    """Features of the pictures, and what it took this process to get them."""
    events: list[Any] = []
    pictures, tower = ManyPictures(), Tower(dimensions)
    rows = features.image_features(
        names, pictures, tower, "key", store, batch_size=4, on_event=events.append, processes=processes
    )
    right = torch.equal(rows, truth(names, dimensions))
    done = [event.done for event in events if isinstance(event, Progress)]
    return {
        "rows": hashlib.sha256(rows.numpy().tobytes()).hexdigest(), "right": right,
        "opened": pictures.opened, "hashed": len(pictures.hashed), "batches": tower.batches, "done": done,
        "warnings": [event.text for event in events if isinstance(event, Notice)],
    }  # fmt: skip


def hammer(store: Path, rank: int) -> dict[str, Any]:
    """Encode other pictures again and again, while a thread of this process damages and removes parts."""
    stop, chance = threading.Event(), random.Random(rank)
    thread = threading.Thread(target=damage, args=(store, stop, random.Random(100 + rank)))
    thread.start()
    try:
        right = [encode(store, ALONE, names=chance.sample(NAMES, 40))["right"] for _ in range(ROUNDS)]
    finally:
        stop.set()
        thread.join()
    return {"right": right}


def damage(store: Path, stop: threading.Event, chance: random.Random) -> None:
    """Cut, flip or remove a part from time to time."""
    while not stop.wait(0.003):
        parts = sorted(store.glob("*/part-*.safetensors"))
        if not parts:
            continue
        part = chance.choice(parts)
        try:
            content = bytearray(part.read_bytes())
            content[chance.randrange(len(content))] ^= 0xFF
            whole = bytes(content)
            aside = part.with_name(f"{part.name}.{os.getpid()}")
            aside.write_bytes(whole[: len(whole) // 2] if chance.random() < 0.5 else whole)
            os.replace(aside, part) if chance.random() < 0.7 else part.unlink(missing_ok=True)
            aside.unlink(missing_ok=True)
        except (OSError, ValueError):
            continue


def main(folder: Path) -> None:
    """Print one JSON object: what this process saw of each store below the folder."""
    features.PART_PICTURES = 8
    with connected(60) as processes:
        seen: dict[str, Any] = {"rank": processes.rank}
        for name in ("empty", "some", "damaged"):
            seen[name] = encode(folder / name, processes)
            seen[f"{name} again"] = encode(folder / name, processes)
        seen["wide"] = encode(folder / "wide", processes, dimensions=3)
        seen["own"] = encode(folder / f"own {processes.rank}", processes)
        processes.barrier("the stores of all")
        seen["hammered"] = hammer(folder / "hammered", processes.rank)
    print(json.dumps(seen))  # noqa: T201


if __name__ == "__main__":
    main(Path(sys.argv[1]))
