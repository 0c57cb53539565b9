"""Makes thumbnails for reports, as `data:` URIs that need no file beside the report."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from xpet.core.pictures import rgb

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST = 96
"""Longer side of a thumbnail, in pixels."""
_FORMATS: dict[str, dict[str, int]] = {"jpeg": {"quality": 80, "optimize": 1}, "png": {"optimize": 1}}


def thumbnail(picture: Image, largest: int = LARGEST) -> str:
    """The picture, shrunk so that no side is longer than `largest`, as a `data:image/...` URI.

    JPEG for photographs or PNG for drawings, whichever is smaller. Pictures are never enlarged. Raises DataError for
    one that cannot be shown as RGB.
    """
    small = rgb(picture, "of a thumbnail").copy()  # it is shrunk in place
    small.thumbnail((largest, largest))
    kind, data = min(((kind, _bytes(small, kind)) for kind in _FORMATS), key=lambda encoded: len(encoded[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _bytes(picture: Image, kind: str) -> bytes:
    """The contents of a file of this kind with the picture."""
    file = io.BytesIO()
    picture.save(file, kind, **_FORMATS[kind])
    return file.getvalue()
