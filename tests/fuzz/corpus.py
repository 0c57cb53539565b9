"""Damaged inputs that are kept: each made a reader say what it had not said before.

A file of JSON lines for each door. A line is one damaged file: `file`, its path; `front` and `back`, how many bytes of
the sound file it begins and ends with; `data`, what stands between (zlib, base64); `said`, what the reader made of it.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("corpus")
MOST = 1000
"""Characters that a kept input may have."""
PER_DOOR = 12
"""Inputs that are kept of one door."""


@dataclass(frozen=True)
class Kept:
    """One damaged file; see the module."""

    file: str
    front: int
    back: int
    data: str
    said: str

    def put(self, folder: Path) -> Path:
        """Damage the file in a folder of sound ones; returns its path."""
        path = folder / self.file
        sound = path.read_bytes()
        middle = zlib.decompress(base64.b64decode(self.data))
        path.write_bytes(sound[: self.front] + middle + (sound[-self.back :] if self.back else b""))
        return path


def kept_of(folder: Path, path: Path, sound: bytes, said: str) -> Kept | None:
    """What a damaged file is kept as; None for one that is gone, or too large."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    most = min(len(sound), len(data))
    front = next((n for n in range(most) if sound[n] != data[n]), most)
    back = next((n for n in range(most - front) if sound[-1 - n] != data[-1 - n]), most - front)
    middle = base64.b64encode(zlib.compress(data[front : len(data) - back], 9)).decode()
    made = Kept(path.relative_to(folder).as_posix(), front, back, middle, said)
    return made if len(json.dumps(asdict(made))) <= MOST else None


def behaviour(error: BaseException | None) -> str:
    """What a reader made of an input, without what differs from input to input: names, numbers, quotations."""
    if error is None:
        return "read"
    text = re.sub(r"'[^']*'|\"[^\"]*\"|`[^`]*`", "'", str(error))
    text = re.sub(r"/\S+", "/", text)
    text = re.sub(r"\w*\d[\w.,]*", "0", text)
    return f"{type(error).__name__}: {' '.join(re.findall(r'[a-z]{3,}|0', text))[:90]}"


def slug(name: str) -> str:
    """A door's name as that of a file."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def load(name: str, where: Path = FOLDER) -> list[Kept]:
    """The inputs that are kept of a door."""
    path = where / f"{slug(name)}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Kept(**json.loads(line)) for line in lines]


def save(name: str, kept: list[Kept], where: Path = FOLDER) -> None:
    """Keep inputs of a door, the first of each behaviour, in place of those that were kept."""
    first: dict[str, Kept] = {}
    for each in kept:
        first.setdefault(each.said, each)
    where.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(each), sort_keys=True) + "\n" for each in list(first.values())[:PER_DOOR]]
    (where / f"{slug(name)}.jsonl").write_text("".join(lines), encoding="utf-8")
