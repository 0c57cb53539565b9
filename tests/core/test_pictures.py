"""Any picture as 8-bit RGB: every mode of Pillow, transparency, orientation, frames, and what is refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from xpet.core.errors import DataError
from xpet.core.pictures import CONVERSIONS, rgb

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
WHITE = 255


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def shown(picture: Image.Image) -> np.ndarray:
    """What `rgb` makes of it, [height, width, 3]; made of that again, it stays as it is."""
    found = rgb(picture, "x")
    assert found.mode == "RGB"
    assert rgb(found, "x") is found
    return np.asarray(found)


def stored(picture: Image.Image, kind: str, **options: Any) -> Image.Image:
    """The picture out of a file of some format, not read yet."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def png(width: int, depth: int, colour: int, row: bytes, *chunks: tuple[bytes, bytes]) -> Image.Image:
    """A PNG of one row, chunk by chunk, as Pillow itself cannot write it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)))


def blended(colours: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """On white, to the nearest byte."""
    share = opacity[..., None] / 255
    return np.rint(colours * share + WHITE * (1 - share)).astype(np.uint8)


def as_grey(values: np.ndarray) -> np.ndarray:
    """[height, width] -> [height, width, 3]."""
    return np.repeat(values[..., None], 3, axis=2)


def test_every_mode_of_pillow_is_treated_on_purpose() -> None:
    assert set(CONVERSIONS) >= set(Image.MODES)


def test_grey_and_colour_stay_as_they_are() -> None:
    colours = noise(5, 4, 3)
    assert np.array_equal(shown(Image.fromarray(colours)), colours)
    assert np.array_equal(shown(Image.fromarray(RAMP)), as_grey(RAMP))
    bits = RAMP > 100
    assert np.array_equal(shown(Image.fromarray(bits)), as_grey(bits.astype(np.uint8) * 255))
    padded = Image.frombytes("RGBX", (4, 5), np.dstack([colours, noise(5, 4)]).tobytes())
    assert np.array_equal(shown(padded), colours)


@pytest.mark.parametrize(
    ("mode", "pixel", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)), ("CMYK", (0, 0, 0, 255), (0, 0, 0)),
        ("CMYK", (255, 0, 255, 0), (0, 255, 0)), ("YCbCr", (76, 85, 255), (254, 0, 0)),
        ("YCbCr", (128, 128, 128), (128, 128, 128)), ("HSV", (0, 255, 255), (255, 0, 0)),
        ("HSV", (170, 255, 128), (0, 0, 128)),
    ],
)  # fmt: skip
def test_other_colour_spaces(mode: str, pixel: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    assert np.abs(shown(Image.new(mode, (2, 2), pixel)).astype(int) - expected).max() <= 1


def test_cmyk_jpeg_as_adobe_writes_it_inverted() -> None:
    found = shown(stored(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("lab", [(50, 0, 0), (80, 10, -20), (60, 40, 30), (90, -40, 60), (30, 20, -40)])
def test_lab_by_the_formula(lab: tuple[int, int, int]) -> None:
    lightness, a, b = lab
    picture = Image.new("LAB", (2, 2), (round(lightness * 2.55), a + 128, b + 128))
    high = (round(lightness * 2.55) / 2.55 + 16) / 116
    parts = np.array([high + a / 500, high, high - b / 200])
    linear = np.where(parts > 6 / 29, parts**3, 3 * (6 / 29) ** 2 * (parts - 4 / 29)) * (0.9642, 1.0, 0.8249)  # D50
    matrix = np.array(  # XYZ under D50 -> linear sRGB
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
    )
    channels = (matrix @ linear).clip(0, 1)
    curved = np.where(channels <= 0.0031308, 12.92 * channels, 1.055 * channels ** (1 / 2.4) - 0.055)
    assert np.abs(shown(picture)[0, 0] - 255 * curved).max() <= 2


def test_transparency_is_laid_on_white() -> None:
    colours, opacity = noise(16, 16, 3), RAMP
    expected = blended(colours, opacity)
    whole = Image.fromarray(np.dstack([colours, opacity]))
    assert np.array_equal(shown(whole), expected)
    assert np.array_equal(shown(stored(whole, "PNG")), expected)
    assert np.array_equal(shown(stored(whole, "WEBP", lossless=True, exact=True)), expected)
    assert np.array_equal(shown(whole)[0, 0], (255, 255, 255))  # whatever colour lies hidden there
    assert np.array_equal(shown(whole)[-1, -1], colours[-1, -1])
    assert np.abs(shown(whole.convert("RGBa")).astype(int) - expected).max() <= 1  # once more rounded
    grey = Image.fromarray(np.dstack([colours[..., 0], opacity]), "LA")
    expected = blended(as_grey(colours[..., 0]), opacity)
    assert np.array_equal(shown(grey), expected)
    assert np.array_equal(shown(stored(grey, "PNG")), expected)
    assert np.abs(shown(grey.convert("La")).astype(int) - expected).max() <= 1


def palette(mode: str = "P") -> Image.Image:
    """Pixels 0, 1, 2 that are red, green, blue."""
    picture = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    return picture.convert(mode) if mode != "P" else picture


def test_palettes() -> None:
    red, green, blue, white = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]
    assert shown(palette()).tolist() == [[red, green, blue]]
    assert shown(stored(palette(), "PNG")).tolist() == [[red, green, blue]]
    for kind in ("PNG", "GIF"):
        assert shown(stored(palette(), kind, transparency=1)).tolist() == [[red, white, blue]], kind
    half = stored(palette(), "PNG", transparency=bytes([255, 0, 51]))
    assert half.info["transparency"] == bytes([255, 0, 51])
    assert shown(half).tolist() == [[red, white, [204, 204, 255]]]
    alone = Image.frombytes("PA", (3, 1), bytes([0, 255, 1, 0, 2, 51]))
    alone.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert shown(alone).tolist() == [[red, white, [204, 204, 255]]]
    within = Image.frombytes("P", (3, 1), bytes([0, 1, 2]))
    within.putpalette([255, 0, 0, 255, 0, 255, 0, 0, 0, 0, 255, 51], "RGBA")
    assert shown(within).tolist() == [[red, white, [204, 204, 255]]]


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key", "expected"),
    [
        (8, 2, b"\1\2\3\4\5\6", (1, 2, 3), [[255, 255, 255], [4, 5, 6]]),
        (8, 2, b"\1\2\3\1\2\4", (1, 2, 4), [[1, 2, 3], [255, 255, 255]]),
        (16, 2, bytes(range(1, 13)), (0x0102, 0x0304, 0x0506), [[255, 255, 255], [7, 9, 11]]),
        (8, 0, b"\x01\x1f", (1,), [[255] * 3, [31] * 3]),
        (4, 0, b"\x1c", (1,), [[255] * 3, [204] * 3]),
        (2, 0, b"\x10", (1,), [[0] * 3, [255] * 3]),
        (1, 0, b"\x40", (0,), [[255] * 3, [255] * 3]),
        (1, 0, b"\x40", (1,), [[0] * 3, [255] * 3]),
        (16, 0, b"\x01\x01\x02\x02", (0x0101,), [[255] * 3, [2] * 3]),
        (16, 0, b"\x01\x01\x02\x02", (0x0102,), [[1] * 3, [2] * 3]),
    ],
)
def test_a_colour_declared_transparent_in_a_png_is_white(
    depth: int, colour: int, row: bytes, key: Sequence[int], expected: list[list[int]]
) -> None:
    picture = png(2, depth, colour, row, (b"tRNS", struct.pack(f">{len(key)}H", *key)))
    assert shown(picture).tolist() == [expected]


def test_sixteen_bits_become_the_eight_they_stand_for() -> None:
    deep = RAMP.astype(np.uint16) * 257
    assert np.array_equal(shown(stored(Image.fromarray(deep), "PNG")), as_grey(RAMP))
    assert np.array_equal(shown(stored(Image.fromarray(deep), "TIFF")), as_grey(RAMP))
    rest = np.random.default_rng(0).integers(0, 65536, (7, 9), dtype=np.uint16)
    expected = as_grey(np.rint(rest / 257).astype(np.uint8))
    assert np.array_equal(shown(Image.fromarray(rest)), expected)
    for mode, order in (("I;16", "<u2"), ("I;16L", "<u2"), ("I;16B", ">u2"), ("I;16N", "=u2")):
        picture = Image.frombytes(mode, (9, 7), rest.astype(order).tobytes())
        assert np.array_equal(shown(picture), expected), mode
    pgm = Image.open(io.BytesIO(b"P5 9 7 65535\n" + rest.astype(">u2").tobytes()))
    assert np.array_equal(shown(pgm), expected)
    twelve = Image.open(io.BytesIO(b"P5 3 1 4095\n" + np.array([0, 2048, 4095], ">u2").tobytes()))
    assert shown(twelve)[0, :, 0].tolist() == [0, 128, 255]
    two = png(2, 16, 4, bytes([10, 99, 255, 255, 20, 0, 0, 0]))  # grey and opacity, read as 8 bits by Pillow
    assert shown(two).tolist() == [[[10] * 3, [255] * 3]]
    colours = png(2, 16, 2, bytes([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 255, 255]))
    assert shown(colours).tolist() == [[[1, 2, 3], [4, 5, 255]]]


def test_integers_of_a_png_of_older_pillow_are_sixteen_bits() -> None:
    picture = Image.fromarray(np.array([[0, 257 * 7, 65535, 70000]], dtype=np.int32))
    picture.format = "PNG"  # type: ignore[misc]
    assert shown(picture)[0, :, 0].tolist() == [0, 7, 255, 255]


def test_twelve_bits_of_a_tiff() -> None:
    fields = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 277: 1, 278: 1, 279: 3}
    head = b"II*\0" + struct.pack("<IH", 8, len(fields) + 1)
    start = 8 + 2 + 12 * (len(fields) + 1) + 4
    entries = sorted([*fields.items(), (273, start)])
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries) + b"\0\0\0\0"
    picture = Image.open(io.BytesIO(head + body + bytes([0xFF, 0xF8, 0x00])))  # 4095 and 2048
    assert picture.mode == "I;16"
    assert shown(picture)[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_an_agreed_range_are_refused(kind: type) -> None:
    picture = Image.fromarray(np.array([[0, 1, 200]], dtype=kind))
    for one in (picture, stored(picture, "TIFF")):
        with pytest.raises(DataError) as error:
            rgb(one, "depth.tif")
        assert str(error.value) == (
            f"picture depth.tif: expected a readable picture, found pixels of mode {picture.mode}, whose values have "
            "no agreed range; scale them to 0-255 and save 8-bit grey or RGB"
        )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
def test_the_orientation_of_a_camera_is_applied_once(kind: str) -> None:
    source = Image.fromarray(noise(4, 6, 3))
    for value in range(10):
        note = Image.Exif()
        note[0x0112] = value
        file = io.BytesIO()
        source.save(file, kind, exif=note)
        upright = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))).convert("RGB")
        if kind != "TIFF":  # older releases of Pillow leave it out there
            assert upright.size == ((4, 6) if value in (5, 6, 7, 8) else (6, 4))
        assert np.array_equal(shown(Image.open(io.BytesIO(file.getvalue()))), np.asarray(upright)), value
        loaded = Image.open(io.BytesIO(file.getvalue()))
        loaded.load()
        assert np.array_equal(shown(loaded), np.asarray(upright)), value
        assert np.array_equal(shown(ImageOps.exif_transpose(loaded)), np.asarray(upright)), value


def test_orientation_of_other_modes_and_of_xmp() -> None:
    note = Image.Exif()
    note[0x0112] = 6
    deep = Image.fromarray(np.array([[0, 257], [514, 771], [1028, 1285]], dtype=np.uint16))
    assert shown(stored(deep, "PNG", exif=note))[..., 0].tolist() == [[4, 2, 0], [5, 3, 1]]
    clear = Image.fromarray(np.dstack([noise(2, 3, 3), np.array([[0, 255, 255], [255, 255, 255]], dtype=np.uint8)]))
    assert shown(stored(clear, "PNG", exif=note))[0, 1].tolist() == [255, 255, 255]
    grey = Image.fromarray(RAMP[:2, :3])
    grey.info["XML:com.adobe.xmp"] = '<x tiff:Orientation="3"/>'
    assert shown(grey)[..., 0].tolist() == [[18, 17, 16], [2, 1, 0]]


@pytest.mark.parametrize(
    "note", [b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"nonsense", b""]
)
def test_a_note_that_cannot_be_read_is_none(note: bytes) -> None:
    colours = noise(4, 6, 3)
    picture = Image.fromarray(colours)
    picture.info["exif"] = note
    assert np.array_equal(shown(picture), colours)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "TIFF", "WEBP"])
def test_of_several_frames_a_file_shows_its_first(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"lossless": True} if kind == "WEBP" else {}
    moving = stored(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert moving.n_frames == 2  # type: ignore[attr-defined]
    assert np.array_equal(shown(moving), np.asarray(frames[0]))


def test_a_given_picture_is_not_changed() -> None:
    note = Image.Exif()
    note[0x0112] = 8
    picture = stored(Image.fromarray(np.dstack([noise(4, 6, 3), noise(4, 6)])), "PNG", exif=note)
    picture.load()
    before = picture.tobytes(), picture.mode, picture.size, dict(picture.info)
    rgb(picture, "x")
    assert (picture.tobytes(), picture.mode, picture.size, picture.info) == before


def test_what_cannot_be_shown_is_told_in_one_line() -> None:
    with pytest.raises(DataError, match=r"^picture 7: expected a readable picture, found 0 x 5 pixels$"):
        rgb(Image.new("RGB", (0, 5)), 7)
    closed = Image.new("RGB", (4, 4))
    closed.close()
    with pytest.raises(DataError, match=r"^picture 0: expected a readable picture, found Operation on closed image$"):
        rgb(closed, 0)


@pytest.mark.parametrize(
    "error", [RuntimeError("a\nb"), NotImplementedError(), TypeError("x"), MemoryError(), EOFError()]
)
def test_decoders_may_raise_what_they_please(error: Exception) -> None:
    class Odd(Image.Image):
        def load(self) -> None:  # type: ignore[override]
            raise error

    words = " ".join(str(error).split()) or type(error).__name__
    with pytest.raises(DataError) as raised:
        rgb(Odd(), "odd")
    assert str(raised.value) == f"picture odd: expected a readable picture, found {words}"
