"""Converts any picture to 8-bit RGB: picture files, pictures in memory, thumbnails.

How each mode of Pillow is converted is a row of CONVERSIONS:

| modes | conversion |
|---|---|
| RGB, L, 1, RGBX, CMYK, YCbCr, HSV | colours as Pillow converts them; a colour that is declared transparent is white |
| P, PA, LA, La, RGBA, RGBa | laid on white |
| LAB | through LittleCMS (D50) to sRGB |
| I;16, I;16L, I;16B, I;16N | from the format's range to 0-255: value / 257, rounded (of 12 bits: value * 255 / 4095) |
| I | likewise where the file's format says that it holds 16 bits (PNG, PGM), else refused: no agreed range |
| F and modes that are not here | refused |

Decided on purpose, each as a viewer shows a picture:

- Transparency is laid on white, as transformers 5 does; open_clip and older transformers drop the alpha channel, and
  show the tower whatever colour lies hidden under full transparency. COCO's and Flickr's pictures have none.
- The orientation that a camera notes in EXIF is applied. The usual pipelines of CLIP open a file with Pillow, which
  ignores it, and see such photographs lying on their side; pictures of COCO and Flickr are not known to carry any. A
  note that cannot be read counts as none.
- Of several frames (GIF, APNG, TIFF, WebP) a file's first is taken, and of a picture in memory the one it stands at.
- Colour profiles are ignored, as CLIP's published pipelines do. 16-bit colour is read as 8 bits by Pillow itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xpet.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

VERSION = "2"
"""Raise when any picture becomes other pixels than before, so that stored features of the earlier ones are not used."""
FEATURE_PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""What image features may be computed in; `auto` is bf16 on CUDA and fp32 elsewhere."""

PROGRAMS = ("EPS", "WMF")
"""Formats that are programs: Pillow would have Ghostscript, or Windows, run them."""
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
"""EXIF orientation -> the transposition that sets the picture upright; others (1 is upright) need none."""
_RANGES = {"I;12": 4095}
"""Pillow's raw mode -> the largest value of its pixels; those of other modes fill 16 bits."""
_FULL = 65535
"""Largest value of 16 bits."""
_INTEGER_FORMATS = ("PNG", "PPM")
"""Formats whose mode I is 16 bits: PNG in older releases of Pillow, PGM scaled by Pillow to all 16."""
_KEY_SCALES: Mapping[str, Callable[[int], int]] = {
    "1": lambda value: min(255, 255 * value),
    "L;2": lambda value: 85 * value,
    "L;4": lambda value: 17 * value,
    "RGB;16B": lambda value: value >> 8,
}
"""Raw mode of a PNG -> how Pillow scales its pixels when it reads them. The transparent
colour is not scaled (by newer releases: not always)."""


def rgb(picture: Image, name: object) -> Image:
    """The picture upright in 8-bit RGB, loaded into memory; the picture itself if it is that already.

    Args:
        picture: a file just opened, or a picture in memory, of any mode.
        name: what errors call it.

    Raises:
        DataError: it is damaged, empty, or its values have no agreed range.
    """
    from PIL import Image

    with readable(name):
        if picture.format in PROGRAMS:
            raise ValueError(f"{picture.format}, a program that would have to be run; save it as PNG")
        stored = _stored_as(picture)
        picture.load()
        if not picture.width or not picture.height:
            raise ValueError(f"{picture.width} x {picture.height} pixels")
        turn = _TURNS.get(_orientation(picture))
        colours = CONVERSIONS.get(picture.mode, _refused)(picture, stored)
        if colours is picture and turn is None:
            return picture
        upright = colours if turn is None else colours.transpose(Image.Transpose[turn])
        upright.info = {}  # orientation and transparent colour do not apply any more
        return upright


@contextmanager
def readable(name: object) -> Iterator[None]:
    """Turn any error of the block into the DataError of a picture that cannot be read: decoders raise many kinds."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"picture {name}: expected a readable picture, found {text}") from error


def _stored_as(picture: Image) -> str:
    """Pillow's raw mode of the file's pixels (such as `I;12`), known until they are loaded; empty if not known."""
    tiles = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _orientation(picture: Image) -> int:
    """The EXIF orientation; 0 where there is none that can be read."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 0))
    except Exception:  # a damaged note must not cost the picture
        return 0


def _plain(picture: Image, stored: str) -> Image:
    """Colours as Pillow converts them; white where the picture has a colour that is declared transparent."""
    key = picture.info.get("transparency")
    if key is None or picture.mode not in ("1", "L", "RGB"):
        return picture if _is_plain(picture) else picture.convert("RGB")
    return _without_colour(picture, key, _KEY_SCALES.get(stored, lambda value: value))


def _is_plain(picture: Image) -> bool:
    """Whether this is a picture in memory that needs nothing done; files are copied, so that they can be closed."""
    from PIL import Image

    return picture.mode == "RGB" and type(picture) is Image.Image


def _without_colour(picture: Image, key: Any, scale: Callable[[int], int]) -> Image:
    """White where the picture has the one colour (or grey) that is declared transparent."""
    import numpy

    pixels = numpy.asarray(picture.convert("L") if picture.mode == "1" else picture)
    parts = key if isinstance(key, tuple) else (key,)
    differs = pixels.reshape(picture.height, picture.width, -1) != [scale(part) for part in parts]
    return _on_white(picture.convert("RGB"), _mask(differs.any(axis=2)))


def _laid_on_white(picture: Image, _stored: str) -> Image:
    """A picture with transparency, laid on white."""
    whole = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    return _on_white(whole.convert("RGB"), whole.getchannel("A"))


def _on_white(colours: Image, opacity: Image) -> Image:
    """RGB colours laid on white, with opacity 0 (white) to 255 per pixel."""
    from PIL import Image

    white = Image.new("RGB", colours.size, (255, 255, 255))
    white.paste(colours, mask=opacity)
    return white


def _mask(opaque: Any) -> Image:
    """Opacity 255 where a bool array [height, width] holds, else 0."""
    from PIL import Image

    return Image.fromarray((opaque * 255).astype("uint8"))


def _lab(picture: Image, _stored: str) -> Image:
    """CIELAB (D50) to sRGB, by LittleCMS."""
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB").apply(picture)


def _sixteen_bits(picture: Image, stored: str) -> Image:
    """Grey of 16 bits (or 12, where the file holds so many) to 8 bits."""
    import numpy
    from PIL import Image

    values, most = numpy.asarray(picture), _RANGES.get(stored, _FULL)
    grey = (2 * 255 * values.clip(0, most).astype("uint32") + most) // (2 * most)  # value * 255 / most, rounded
    colours = Image.fromarray(grey.astype("uint8")).convert("RGB")
    key = picture.info.get("transparency")
    return colours if key is None else _on_white(colours, _mask(values != key))


def _integers(picture: Image, stored: str) -> Image:
    """Mode I: 16 bits in some formats, and refused in all others."""
    if picture.format not in _INTEGER_FORMATS:
        return _refused(picture, stored)
    return _sixteen_bits(picture, stored)


def _refused(picture: Image, _stored: str) -> Image:
    """Raises ValueError: nobody knows what black and white are."""
    raise ValueError(
        f"pixels of mode {picture.mode}, whose values have no agreed range; scale them to 0-255 and save 8-bit grey "
        "or RGB"
    )


CONVERSIONS: Mapping[str, Callable[[Image, str], Image]] = {
    **dict.fromkeys(("RGB", "L", "1", "RGBX", "CMYK", "YCbCr", "HSV"), _plain),
    **dict.fromkeys(("P", "PA", "LA", "La", "RGBA", "RGBa"), _laid_on_white),
    "LAB": _lab,
    **dict.fromkeys(("I;16", "I;16L", "I;16B", "I;16N"), _sixteen_bits),
    "I": _integers,
    "F": _refused,
}
"""Mode of Pillow -> how a picture of it becomes RGB, given how its file holds the pixels."""
