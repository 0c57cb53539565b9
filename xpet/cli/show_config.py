"""`--show-config`: every option of a command with its value and where it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from xpet.cli.settings import DEFAULT, Request, fields_of
from xpet.cli.view import Block, Paragraph, TextTable
from xpet.core.config.options import values_of
from xpet.core.presets import Preset

SCHEMA = 1
PRESET_FIELDS = {field.name for field in fields(Preset)}


@dataclass(frozen=True)
class ShownConfig:
    """The options of a command: flag, value (JSON-ready) and source of each."""

    command: str
    options: Mapping[str, tuple[Any, str]]

    def to_dict(self) -> dict[str, Any]:
        """The whole, JSON-ready."""
        options = {key: {"value": value, "from": source} for key, (value, source) in self.options.items()}
        return {"command": self.command, "schema": SCHEMA, "options": options}

    def blocks(self) -> Iterator[Block]:
        """A table for the view."""
        rows = [(f"--{key}", _text(value), source) for key, (value, source) in self.options.items()]
        columns = [("option", "left"), ("value", "left"), ("from", "left")]
        yield TextTable(f"Options of xpet {self.command}", columns, rows)
        yield Paragraph("")
        yield Paragraph("Flags beat environment variables, these beat files, these beat defaults. Nothing was run.")


def shown_config(request: Request) -> ShownConfig:
    """Every option of a request; where a value is left to the preset, the preset's, as far as it is known now."""
    kind = next((each for each in request.command.kinds if isinstance(request.checked, each)), None)
    decided = {} if kind is None else values_of(request.checked, kind)
    options = {}
    for entry in fields_of(request.command):
        value, source = request[entry.key], DEFAULT
        if entry.key in request.settings:
            source = request.settings[entry.key].source
        elif entry.key in request.left_out:
            source = f"{DEFAULT} (left out: {request.left_out[entry.key]})"
        if value is None and entry.path[-1] in PRESET_FIELDS and decided.get(entry.key) is not None:
            value, source = decided[entry.key], f"preset {request['preset']}"
        if value == "":  # the name of a model or data set that was left open: the checked one, if there is one
            value = decided.get(entry.key) or None
        options[entry.key] = (list(value) if isinstance(value, tuple) else value, source)
    return ShownConfig(request.command.name, options)


def _text(value: Any) -> str:
    """A value as it would be typed; `-` for none."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
