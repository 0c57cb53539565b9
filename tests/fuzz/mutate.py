"""Damage to files: bytes of any file, values of JSON, tensors of safetensors, members of folders."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

ODD_BYTES = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\t", b'"', b'""', b",", b"{", b"}", b"\\",
    b"\xe2\x80\xa8", b"\xed\xa0\x80", b"\x1f\x8b", b"BZh", b"\xff\xfe", b"A" * 5000, b"9" * 400, b"-1", b"1e999",
    b"NaN", b"null", b"\xf0\x9f\x98\x80",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**70, -(2**70), 0.5, 1e308, float("nan"), float("inf"), "", " ", "0",
    "x" * 3000, "\x00", "../..", "/", "\u00fc", "\ud800", [], {}, [None], [[]], {"": None}, {"a": {"b": []}},
    ["a"] * 50, [1, "a"],
)  # fmt: skip


def damage(path: Path, dice: random.Random) -> str:
    """Change a file in place; returns in words what was done."""
    kinds: list[Callable[[Path, random.Random], str]] = [_bytes, _bytes]
    if path.suffix in (".json", ".jsonl"):
        kinds += [_json] * 6
    if path.suffix in (".safetensors", ".xpet"):
        kinds += [_header] * 4
    if dice.random() < 0.02:
        kinds = [_gone]
    return dice.choice(kinds)(path, dice)


def _gone(path: Path, dice: random.Random) -> str:
    path.unlink()
    if dice.random() < 0.5:
        path.mkdir()
        return "a folder in its place"
    return "removed"


def _bytes(path: Path, dice: random.Random) -> str:
    data = bytearray(path.read_bytes())
    said = []
    for _ in range(dice.choice((1, 1, 2, 5))):
        place, length = dice.randrange(len(data) + 1), dice.choice((1, 2, 8, 64, 1000))
        if dice.random() < 0.5:
            place = min(place, dice.randrange(300))  # heads matter more than bodies
        what = dice.choice(("flip", "odd", "cut", "again", "end"))
        said.append(f"{what} at {place}")
        if what == "flip" and place < len(data):
            data[place] ^= 1 << dice.randrange(8)
        elif what == "odd":
            data[place : place + dice.choice((0, 0, 1, 4))] = dice.choice(ODD_BYTES)
        elif what == "cut":
            del data[place : place + length]
        elif what == "again":
            data[place:place] = data[place : place + length]
        elif what == "end" and dice.random() < 0.3:
            del data[place:]
    path.write_bytes(bytes(data))
    return ", ".join(said)


def _json(path: Path, dice: random.Random) -> str:
    text = path.read_text(encoding="utf-8")
    lines = text.split("\n") if path.suffix == ".jsonl" else [text]
    number = dice.randrange(max(1, len(lines) - 1))
    try:
        value = json.loads(lines[number])
    except ValueError:
        return _bytes(path, dice)
    value, said = _changed(value, dice)
    lines[number] = json.dumps(value, ensure_ascii=dice.random() < 0.5)
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    return said


def _changed(value: Any, dice: random.Random, way: str = "$") -> tuple[Any, str]:
    """A copy of a JSON value with one value in it made another, taken out, or doubled under another name."""
    if isinstance(value, dict) and value and dice.random() < 0.9:
        name = dice.choice(list(value))
        roll = dice.random()
        if roll < 0.1:
            return {k: v for k, v in value.items() if k != name}, f"{way}.{name} removed"
        if roll < 0.15:
            return {**value, dice.choice(("", "x", name + "x", name.upper())): value[name]}, f"{way}.{name} doubled"
        inner, said = _changed(value[name], dice, f"{way}.{name}")
        return {**value, name: inner}, said
    if isinstance(value, list) and value and dice.random() < 0.8:
        place = dice.randrange(len(value))
        inner, said = _changed(value[place], dice, f"{way}[{place}]")
        return [*value[:place], inner, *value[place + 1 :]], said
    odd = dice.choice(ODD_VALUES)
    return odd, f"{way} = {odd!r:.40}"


def _header(path: Path, dice: random.Random) -> str:
    """One value in a safetensors header changed, or some of the numbers behind it."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    try:
        header = json.loads(data[8 : 8 + size])
    except ValueError:
        return _bytes(path, dice)
    body = bytearray(data[8 + size :])
    if dice.random() < 0.3 and len(body) >= 8:
        odd = dice.choice((float("nan"), float("inf"), -float("inf"), 0.0, 3e38))
        start = 4 * dice.randrange(len(body) // 4)
        body[start : start + 4] = struct.pack("<f", odd)
        said = f"number {start // 4} = {odd}"
    elif "__metadata__" in header and dice.random() < 0.5:
        said = _metadata(header["__metadata__"], dice)
    else:
        header, said = _changed(header, dice)
    written = json.dumps(header).encode("utf-8", "surrogatepass")
    path.write_bytes(struct.pack("<Q", len(written)) + written + bytes(body))
    return said


def _metadata(metadata: dict[str, Any], dice: random.Random) -> str:
    name = dice.choice(list(metadata))
    try:
        inner, said = _changed(json.loads(metadata[name]), dice, name)
        metadata[name] = json.dumps(inner)
    except (ValueError, TypeError):
        metadata[name], said = dice.choice(ODD_VALUES), f"metadata {name} is odd"
    return said
