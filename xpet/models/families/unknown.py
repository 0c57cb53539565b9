"""What is said of a folder that no family reads: what was recognised in it, what is missing, and the nearest family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path

from xpet.core.errors import ModelError
from xpet.models.backbones import BACKBONES
from xpet.models.families import FAMILIES, family_of, settings_in
from xpet.models.families.base import CONFIG, Family, document
from xpet.models.families.m_clip import has_keys

_LISTED = 3
"""Folders and files that an error names at most."""
_SEEN = 200
"""Folders within a folder that are looked into at most, over two levels."""
_LANGUAGE_MODELS = ("ForCausalLM", "ForConditionalGeneration", "ForMaskedLM", "LMHeadModel")
"""How names of classes of language models end."""
_TOKENIZERS = ("tokenizer.json", "sentencepiece.bpe.model", "vocab.txt", "spiece.model", "tokenizer.model")


def is_known(folder: Path) -> bool:
    """Whether a family recognises a folder by what it holds, or its config.json is there and cannot be read."""
    family = family_of(folder)
    if family is not FAMILIES[-1]:
        return True
    return has_keys(folder) or ((folder / CONFIG).is_file() and not document(folder))


def explained(folder: Path, what: str) -> ModelError:
    """The error for a folder of no family in which a `what`, such as a text tower, was expected."""
    found = next(filter(None, (look(folder) for look in _LOOKS)))
    known = ", ".join(family.name for family in FAMILIES)
    return ModelError(f"{folder}: expected a checkpoint with {what}, found {found}; these are read of {known}")


def without_image(folder: Path, family: Family) -> ModelError:
    """The error for a text tower's checkpoint in which an image tower was expected."""
    partner = next(iter(family.facts.partners.values()), "")
    remedy = f"; its partner is another checkpoint, such as {partner}" if partner else ""
    return ModelError(f"{folder}: expected an image tower, found a text tower alone, of {family.name}{remedy}")


def _empty(folder: Path) -> str:
    return "" if any(folder.iterdir()) else "an empty folder"


def _above(folder: Path) -> str:
    """A part of a checkpoint: the folder is one or two levels too deep."""
    parents = folder.absolute().parents[:2]
    found = [(parent, family) for parent in parents if settings_in(parent) and (family := _read_by(parent))]
    return f"a part of a checkpoint of {found[0][1].name}: give {found[0][0]}" if found else ""


def _inside(folder: Path) -> str:
    """A folder one or two levels too high."""
    found = [(inner, family) for inner in _folders(folder) if (family := _read_by(inner)) is not None]
    if (folder / CONFIG).is_file() or not found:
        return ""
    more = f", and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    names = " and ".join(f"{inner} ({family.name})" for inner, family in found[:_LISTED])
    return f"none in it but in a folder inside: give {names}{more}"


def _folders(folder: Path) -> Iterator[Path]:
    """Folders of the next two levels, hidden ones left out, and no more than _SEEN."""
    outer = _children(folder)
    return islice(chain(outer, chain.from_iterable(map(_children, outer))), _SEEN)


def _children(folder: Path) -> list[Path]:
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError:
        return []
    return found


def _read_by(folder: Path) -> Family | None:
    """The family that reads a folder, None for none."""
    family = family_of(folder)
    known = family in FAMILIES[:-1] or (family is FAMILIES[-1] and has_keys(folder))
    return family if known else None


def _file_of_others(folder: Path) -> str:
    """A folder of another kind, by a file that shows it."""
    kinds = {
        "delta.safetensors": "a run of xpet: xpet merge makes a checkpoint of it",
        "adapter_config.json": "an adapter of PEFT without its base",
        "model_index.json": "a pipeline of diffusers",
    }
    return next((kind for name, kind in kinds.items() if (folder / name).is_file()), "")


def _by_settings(folder: Path) -> str:
    """What config.json says, and the family whose name is nearest."""
    settings = document(folder)
    if not settings:
        return ""
    kind, classes = str(settings.get("model_type", "unknown"))[:60], settings.get("architectures")
    classes = classes if isinstance(classes, list) else []
    named = next((str(name) for name in classes if str(name).endswith(_LANGUAGE_MODELS)), None)
    if kind.endswith("vision_model"):
        return f"a model of type '{kind}', an image tower alone, for --image-model"
    if named is not None:
        return f"a language model ({named:.60}), which has no space in common with pictures"
    if kind in (*BACKBONES, "distilbert"):
        return f"a transformer ('{kind}') without a layer into the space of pictures"
    return f"a model of type '{kind}'{_nearest(kind, folder)}"


def _nearest(kind: str, folder: Path) -> str:
    """The family whose tensors have the names of a folder's, or else a like name."""
    if found := _by_tensors(folder):
        return f" with tensors named as {found}'s: is model_type in config.json right?"
    plain = {family.name.lower().replace("-", "").replace(" ", ""): family.name for family in FAMILIES}
    close = get_close_matches(kind.lower().replace("_", "").replace("-", ""), plain, 1)
    return f" (the nearest that is read is {plain[close[0]]})" if close else ""


def _by_tensors(folder: Path) -> str:
    """Names of the families whose tensors have the names of those in a folder."""
    names = _names(folder)
    fits = [f.name for f in FAMILIES if f.signs and all(any(n.startswith(s) for n in names) for s in f.signs)]
    return " or ".join(fits)


def _names(folder: Path) -> Sequence[str]:
    """Names of all tensors in a folder that can be read."""
    from xpet.models.weights import read_weights

    found: list[str] = []
    for part in dict.fromkeys(part for family in FAMILIES for part in family.parts if not part.folder):
        try:
            found += read_weights(folder, part.stems)
        except ModelError:
            continue
    return found


def _weights(folder: Path) -> str:
    """Weights without settings."""
    if not (names := _names(folder)):
        return ""
    family = _by_tensors(folder)
    kind = f"named as {family}'s" if family else f"({min(names):.60}, ...)"
    return f"weights {kind} without {CONFIG}: fetch that, too"


def _tokenizer_alone(folder: Path) -> str:
    has = any((folder / name).is_file() for name in _TOKENIZERS)
    return f"a tokenizer alone: {CONFIG} and weights are missing" if has else ""


def _files(folder: Path) -> str:
    """What else lies there."""
    names = sorted(path.name for path in folder.iterdir())
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"no {CONFIG}, but {', '.join(names[:_LISTED])}{more}; is this the right folder?"


_LOOKS: tuple[Callable[[Path], str], ...] = (
    _empty, _above, _inside, _file_of_others, _by_settings, _weights, _tokenizer_alone, _files,
)  # fmt: skip
"""Each says what was found, or nothing where it is not that; the last always does."""
