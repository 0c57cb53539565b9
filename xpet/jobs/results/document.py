"""Makes the JSON document of a result: command, schema, the note of the demo world, and the result's fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xpet.jobs.results.synthetic import SYNTHETIC

if TYPE_CHECKING:
    from xpet.core.estimates import Disparity


def document(command: str, fields: Mapping[str, Any], schema: int = 1) -> dict[str, Any]:
    """A JSON-ready document with `fields` in their order, after a note where `synthetic` is set in them."""
    note = {"note": SYNTHETIC} if fields.get("synthetic") else {}
    return {"command": command, "schema": schema, **note, **fields}


def disparity_fields(disparity: Disparity[float]) -> dict[str, Any]:
    """Disparity as the documents of `align` and `merge` hold it: figures and the worst language."""
    names = ("mean", "range", "std", "worst", "mean_gap")
    return {name: getattr(disparity, name) for name in names}
