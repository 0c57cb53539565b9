"""CLIP's and SigLIP's pre-processing of pictures; read strictly: what is accepted works on every picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.errors import ModelError
from xpet.models.weights import read_json

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

CHANNELS = 3
"""Channels of every picture: red, green and blue."""
_SWITCHES = ("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize")
"""Steps of the pre-processing that can be switched off."""
_NOT_OURS = ("do_pad", "use_square_size")
"""Switches of other models' pre-processing, which must be off: they would change pictures."""
ROUNDS = "crop_rounds"
"""Whether a centre crop begins at the nearest pixel, of two the even one, as torchvision's does; else at the one before
the middle. Not one of transformers' settings."""
_SIZES = ({"shortest_edge"}, {"height", "width"})
"""Names of sides that make up a size."""
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
_SIDE = 224
"""Height and width of CLIP's own pictures."""


@dataclass(frozen=True)
class Processing:
    """The pre-processing of a kind of model.

    Attributes:
        model: of what model it is, for errors.
        names: that transformers has had for it; the first is meant where a file names none.
        own: its values of settings where they are not CLIP's.
    """

    model: str
    names: tuple[str, ...]
    own: Mapping[str, Any] = field(default_factory=dict)


CLIP = Processing(
    "CLIP", (
        "CLIPFeatureExtractor", "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil",
        "ChineseCLIPFeatureExtractor", "ChineseCLIPImageProcessor", "ChineseCLIPImageProcessorFast",
        "ChineseCLIPImageProcessorPil",
    ),
)  # fmt: skip
"""Chinese-CLIP's is the same."""
SIGLIP = Processing(
    "SigLIP", ("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"),
    {"do_center_crop": False, "size": {"height": _SIDE, "width": _SIDE}, "image_mean": 0.5, "image_std": 0.5},
)  # fmt: skip
"""Pictures get another shape, and nothing is cropped."""
_LARGEST = 16
"""How many times the tower's side a picture may be resized to: the crop would leave nearly nothing of more."""
_MOST = 1e30
"""Largest absolute value of a mean, deviation or factor of pixels that is accepted."""
_WIDE, _PIXELS = 16, 1 << 22
"""A picture that would be resized to more than _PIXELS pixels, and to more than _WIDE squares of its shorter side, is
cropped first (see `_middle`)."""


def read_processing(folder: Path, side: int, kind: Processing = CLIP) -> dict[str, Any]:
    """The pre-processing in a checkpoint folder, all settings in one spelling.

    Args:
        folder: holds preprocessor_config.json, or processor_config.json with it inside.
        side: height and width of the pictures that the tower takes.
        kind: what pre-processing it must be.

    Raises:
        ModelError: it is another model's, a setting has no valid value, or it does not make every picture
            `side` x `side`.
    """
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():
        path = folder / "processor_config.json"
        written = read_json(path, "the pre-processing").get("image_processor") or {}
        if not isinstance(written, Mapping):
            raise ModelError(f"{path}: expected an object image_processor, found {written!r}")
    else:
        written = read_json(path, "the pre-processing of pictures")
    return checked_processing(written, side, path, kind)


def checked_processing(written: Mapping[str, Any], side: int, path: Path, kind: Processing = CLIP) -> dict[str, Any]:
    """The same of settings `written` in the file `path`; raises ModelError as `read_processing` does."""
    name = written.get("image_processor_type", written.get("feature_extractor_type", kind.names[0]))
    if name not in kind.names:
        raise ModelError(f"{path.parent}: expected the pre-processing of {kind.model}, found {name}")
    try:
        settings = canonical_processing(
            {**written, **{key: value for key, value in kind.own.items() if written.get(key) is None}}
        )
    except ValueError as error:
        raise ModelError(f"{path}: the pre-processing is not valid: {error}") from None
    _check_size(settings, side, path)
    return settings


def _check_size(settings: Mapping[str, Any], side: int, path: Path) -> None:
    """Raise ModelError where some picture would not become `side` x `side`, or one far larger on the way."""
    size, crop, square = settings["size"], settings["crop_size"], dict.fromkeys(("height", "width"), side)
    most = _LARGEST * side
    if settings["do_center_crop"] and crop != square:
        raise ModelError(
            f"{path.parent}: tower and pre-processing disagree: expected pictures of {side} x {side}, found crop_size "
            f"{crop['height']} x {crop['width']}"
        )
    if settings["do_resize"] and max(size.values()) > most:
        raise ModelError(f"{path}: the pre-processing is not valid: size: expected at most {most}, found {size}")
    if not settings["do_center_crop"] and not (settings["do_resize"] and size == square):
        given = f"size {size}" if settings["do_resize"] else "no resizing (do_resize false)"
        raise ModelError(
            f"{path}: expected every picture to become {side} x {side}, by a centre crop (do_center_crop true, "
            f"crop_size {side}) or by size {square}, found {given} and no crop, which gives pictures of several shapes"
        )


def canonical_processing(written: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of CLIP's pre-processing in one spelling, whatever release of transformers wrote them.

    What is absent has CLIP's own value, and what is null as well, but for switches: those are off. Raises ValueError
    naming every setting without a valid value.
    """
    problems: list[str] = []
    settings: dict[str, Any] = {}
    for name, (default, read, expected) in _SETTINGS.items():
        value = written.get(name, default)
        settings[name] = read((False if default is True else default) if value is None else value)
        if settings[name] is None:
            problems.append(f"{name}: expected {expected}, found {value!r:.60}")
    if written.get(ROUNDS) is True:
        settings[ROUNDS] = True
    problems += [f"{name}: expected false, found {written[name]!r:.60}" for name in _NOT_OURS if written.get(name)]
    if problems:
        raise ValueError("; ".join(problems))
    return settings


def _switch(value: object) -> bool | None:
    """True or false; None for other values."""
    return value if isinstance(value, bool) else None


def _whole(value: object) -> int | None:
    """A whole number from 1 on, also where it is written as 224.0; None for other values."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 1 or value % 1:
        return None  # infinity and NaN among them, whose remainder is NaN, which counts as true
    return int(value)


def _sides(value: object) -> dict[str, int] | None:
    """A size by the names of its sides, without sides that are null; None for other values."""
    if isinstance(value, (list, tuple)) and len(value) == len(("height", "width")):
        value = dict(zip(("height", "width"), value, strict=True))
    if not isinstance(value, Mapping):
        return None
    sides = {name: _whole(side) for name, side in value.items() if side is not None}
    whole = {name: side for name, side in sides.items() if side is not None}
    return whole if set(whole) in _SIZES and whole.keys() == sides.keys() else None


def _size(value: object) -> dict[str, int] | None:
    """A size to resize to; a number is that of the shortest edge. None for other values."""
    side = _whole(value)
    return _sides(value) if side is None else {"shortest_edge": side}


def _crop(value: object) -> dict[str, int] | None:
    """Height and width to crop to; a number is both. None for other values."""
    side = _whole(value)
    sides = _sides(value) if side is None else {"height": side, "width": side}
    return sides if sides and "height" in sides else None


def _resample(value: object) -> int | None:
    """The number of one of Pillow's filters; None for other values."""
    from PIL import Image

    known = {int(filter_) for filter_ in Image.Resampling}
    return value if isinstance(value, int) and not isinstance(value, bool) and value in known else None


def _number(value: object) -> float | None:
    """A finite number of moderate size; None for other values."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _MOST:
        return None  # NaN among them
    return float(value)


def _positive(value: object) -> float | None:
    """A number as of `_number`, above zero; None for other values."""
    number = _number(value)
    return number if number is not None and number > 0 else None


def _channels(read_one: Callable[[object], float | None]) -> Callable[[object], list[float] | None]:
    """The reader of one number per channel, each read by `read_one`; a single number stands for all channels."""

    def read(value: object) -> list[float] | None:
        values = value if isinstance(value, (list, tuple)) else [value] * CHANNELS
        numbers = [number for entry in values if (number := read_one(entry)) is not None]
        return numbers if len(numbers) == len(values) == CHANNELS else None

    return read


_SIDES_WORDS = "a whole number from 1 on, or height and width"
_SETTINGS: Mapping[str, tuple[Any, Callable[[object], Any], str]] = {
    "size": (_SIDE, _size, f"{_SIDES_WORDS}, or shortest_edge"),
    "crop_size": (_SIDE, _crop, _SIDES_WORDS),
    "resample": (3, _resample, "the number of a filter of Pillow"),
    "rescale_factor": (1 / 255, _positive, "a positive number"),
    "image_mean": (_MEAN, _channels(_number), f"{CHANNELS} numbers"),
    "image_std": (_STD, _channels(_positive), f"{CHANNELS} positive numbers"),
    **{switch: (True, _switch, "true or false") for switch in _SWITCHES},
}
"""Setting -> CLIP's own value, how a value is read (None: it is not valid), and what is expected."""


def image_processor(settings: Mapping[str, Any]) -> Any:
    """CLIP's pre-processing by transformers, on Pillow and numpy (no torchvision), with the given settings."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(**canonical_processing(settings))


def cut(processor: Any, image: Image) -> Tensor:
    """An RGB picture resized and cropped, [channels, height, width]; in bytes, not yet scaled or normalised.

    The very bytes of transformers' own pre-processing, which goes to numpy and back between its steps and holds the
    interpreter's lock meanwhile: threads that prepare pictures would wait for each other.
    """
    import numpy
    import torch

    part = _middle(image, processor) if processor.do_resize and processor.do_center_crop else None
    if part is None and processor.do_resize:
        part = image.resize(_resized(image.size, processor.size), processor.resample)
    pixels = numpy.asarray(part or image).transpose(2, 0, 1)
    crop = processor.crop_size
    height, width = (crop.height, crop.width) if processor.do_center_crop else pixels.shape[1:]
    rounds = getattr(processor, ROUNDS, False)
    top, above, rows = _span(pixels.shape[1], height, rounds)
    left, before, columns = _span(pixels.shape[2], width, rounds)
    framed = numpy.zeros((len(pixels), height, width), pixels.dtype)
    framed[:, above : above + rows, before : before + columns] = pixels[:, top : top + rows, left : left + columns]
    return torch.from_numpy(framed)


def _resized(size: tuple[int, int], wanted: Any) -> tuple[int, int]:
    """Width and height to resize a picture of `size` (width, height) to, by a processor's size."""
    if not wanted.shortest_edge:
        return wanted.width, wanted.height
    short, long = wanted.shortest_edge, int(wanted.shortest_edge * max(size) / min(size))
    return (short, long) if size[0] <= size[1] else (long, short)


def _span(side: int, wanted: int, rounds: bool = False) -> tuple[int, int, int]:
    """The middle of a side: where it begins, where it is put in a side of `wanted` pixels, and how many these are."""
    first = round((side - wanted) / 2) if rounds else (side - wanted) // 2
    return max(0, first), max(0, -first), min(side, wanted)


def _middle(image: Image, processor: Any) -> Image | None:
    """The part of a very elongated picture that the centre crop keeps, resized; None for other pictures.

    A picture of 1 x 30,000 pixels, resized as a whole, would take gigabytes. The part's pixels are those of the whole,
    but for rounding and clipping on the way.
    """
    short, crop = processor.size.shortest_edge, processor.crop_size
    if not short:
        return None
    width, height = (int(short * side / min(image.size)) for side in image.size)
    if width * height <= max(_PIXELS, _WIDE * short * short):
        return None
    wide, high = min(width, crop.width), min(height, crop.height)
    left, top = (width - wide) // 2, (height - high) // 2
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + wide) * across, (top + high) * down)
    return image.resize((wide, high), processor.resample, box)
