"""Pictures in folders, and which names mean one picture."""

from __future__ import annotations

import os
import posixpath
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.captions import Split
from xpet.core.errors import DataError, quoted
from xpet.core.files import sha256_of
from xpet.core.pictures import readable, rgb

if TYPE_CHECKING:
    from PIL.Image import Image

LISTED = 3
"""How many missing pictures an error names."""
_PLAIN = re.compile(r"(?:(?!\.{0,2}(?:/|\Z))[\x01-\x2e\x30-\x5b\x5d-\x7f]+(?:/(?!\Z)|\Z))+")
"""Names that are as `canonical` writes them: relative, in ASCII, without a backslash or an empty, . or .. part."""


@dataclass(frozen=True)
class FolderPictures:
    """An ImageSource over folders; a name (or absolute path) is looked for in each, in order.

    Where none has a file of that very name, the other ways to write it are tried: backslashes as slashes, accents
    composed or decomposed, without `.` and `..`.
    """

    folders: tuple[Path, ...]

    def path(self, name: str) -> Path | None:
        """Where the picture is, or None."""
        return next((Path(path) for path, _ in self._found(name)), None)

    def file(self, name: str) -> int | None:
        """A number of the file, the same under all its names, links included; None when there is none."""
        return next((number for _, number in self._found(name)), None)

    def digest(self, name: str) -> str:
        """Sha256 hex digest of the file's bytes; raises DataError when it is missing or unreadable."""
        try:
            with self._existing(name).open("rb") as file:
                return sha256_of(file)
        except OSError as error:
            raise DataError(f"picture {name}: expected a readable file, found {error}") from error

    def open(self, name: str) -> Image:
        """The picture upright in 8-bit RGB; raises DataError when it is missing, not a picture or cannot be shown."""
        from PIL import Image

        path = self._existing(name)
        with readable(name), Image.open(path) as picture:
            return rgb(picture, name)

    def instead(self, name: str) -> str:
        """What stands where the picture was looked for, in words; empty for nothing."""
        for path in self._places(name):
            try:
                os.stat(path)
            except PermissionError:
                return "one that may not be looked at"
            except (OSError, ValueError):
                if os.path.islink(path):
                    return "a broken link"
                continue
            return "a folder" if os.path.isdir(path) else "something other than a plain file"
        return ""

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if path is None:
            found = self.instead(name) or "no such file"
            raise DataError(f"picture {name}: expected it in {_listing(self.folders)}, found {found}")
        return path

    def _places(self, name: str) -> Iterator[str]:
        for folder in self.folders:
            yield os.path.join(folder, name)
        for spelling in _spellings(name):
            for folder in self.folders:
                yield os.path.join(folder, spelling)

    def _found(self, name: str) -> Iterator[tuple[str, int]]:
        """Every file the name may mean, best first, with its number."""
        for path in self._places(name):
            try:
                about = os.stat(path)
            except (OSError, ValueError):  # none, not to be looked at, or no name a file can have
                continue
            if stat.S_ISREG(about.st_mode):
                yield path, _number(path, about)


def _number(path: str, about: os.stat_result) -> int:
    """A number that two files do not share; some file systems number none."""
    return (about.st_dev << 64) + about.st_ino if about.st_ino else hash(os.path.realpath(path))


def _spellings(name: str) -> Sequence[str]:
    """Other ways to write a name, as the file may be called on this disk."""
    if _PLAIN.fullmatch(name):
        return ()
    slashed = name.replace("\\", "/")
    ways = [slashed, posixpath.normpath(slashed)]
    ways += [unicodedata.normalize(form, way) for form in ("NFC", "NFD") for way in (name, *ways)]
    return [way for way in dict.fromkeys(ways) if way != name]


def canonical(name: str, root: str = "") -> str:
    """The one way to write an image's name: composed accents (NFC), slashes only, no `.`, `..` and empty parts.

    Below `root`, an absolute folder, it is relative to that. Two names written alike mean one picture, unless both
    are there and differ; see `Names`.
    """
    if _PLAIN.fullmatch(name):
        return name
    written = posixpath.join(root, unicodedata.normalize("NFC", name).replace("\\", "/"))
    path = posixpath.normpath(written)
    if path.startswith("//"):  # which POSIX leaves alone
        path = path[1:]
    return path.removeprefix(f"{root.rstrip('/')}/") if root else path


class Names:
    """Gives every picture one name, whatever ways it is written in: the first that is met."""

    def __init__(self, pictures: FolderPictures) -> None:
        """`pictures` tell whether two names that are written alike are two files after all."""
        self._pictures = pictures
        self._root = canonical(os.path.abspath(pictures.folders[0])) if pictures.folders else ""
        self._names: dict[str, str] = {}
        self._written: dict[str, str] = {}  # canonical -> the first name, where that is written otherwise

    def one(self, name: str) -> str:
        """The name of the picture that `name` names."""
        known = self._names.get(name)
        if known is None:
            known = self._names[name] = self._first(name)
        return known

    def _first(self, name: str) -> str:
        written = canonical(name, self._root)
        first = self._names.get(written) or self._written.get(written, name)
        if written != name:
            self._written.setdefault(written, name)
        return name if first != name and self._differ(first, name) else first

    def _differ(self, first: str, name: str) -> bool:
        files = self._pictures.file(first), self._pictures.file(name)
        return None not in files and files[0] != files[1]


def renamed(names: Sequence[str], images: Sequence[str], pictures: object = None) -> list[str]:
    """The names as `images` write them; those of no image as they are.

    `pictures`, where they are FolderPictures, tell links and files that differ.
    """
    have = set(images)
    if have.issuperset(names):
        return list(names)
    folder = pictures if isinstance(pictures, FolderPictures) else FolderPictures(())
    known = Names(folder)
    for image in images:
        known.one(image)
    found = [known.one(name) for name in names]
    left = [name for name in found if name not in have]
    _, links = _look(folder, [*images, *left]) if left and folder.folders else ([], {})
    return [links.get(name, name) for name in found]


def unusable(name: object) -> list[str]:
    """The problem with a name that no file can have; none for others, nor for what is no text."""
    if not isinstance(name, str):
        return []
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        pass
    else:
        if "\0" not in name:
            return []
    return [f"expected an image name, found {quoted(name)}, which no file can have"]


def find_pictures(
    folders: Sequence[Path], names: Sequence[str], problems: list[str], same: dict[str, str]
) -> FolderPictures | None:
    """The pictures of a data set, or None when not a single one is there (features must then come from elsewhere).

    When some are there and others missing, the missing are counted and the first few named in `problems`. Names of a
    file that an earlier one names too are put into `same`, with that one.
    """
    pictures = FolderPictures(tuple(folder for folder in folders if folder.is_dir()))
    missing, links = _look(pictures, names)
    if len(missing) == len(names):
        return None
    same |= links
    if missing:
        few = ", ".join(_missing(pictures, name) for name in missing[:LISTED])
        problems.append(
            f"expected {len(names)} pictures in {_listing(pictures.folders)}, found {len(missing)} missing: "
            f"{few}{', ...' if len(missing) > LISTED else ''}; "
            "add them, or take all pictures away and give --image-features"
        )
    return pictures


def one_each(split: Split, same: Mapping[str, str]) -> Split:
    """The split with one image for all names of a file: its captions go to the first of `same`."""
    names = [same.get(image, image) for image in split.images]
    place = {name: index for index, name in enumerate(dict.fromkeys(names))}
    if len(place) == len(names):
        return split
    captions = {
        language: replace(column, image_index=tuple(place[names[image]] for image in column.image_index))
        for language, column in split.captions.items()
    }
    return Split(tuple(place), captions)


def _look(pictures: FolderPictures, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names without a file; and every name whose file an earlier one names too, with that one."""
    first: dict[int, str] = {}
    missing, links = [], {}
    for name in names:
        number = pictures.file(name)
        if number is None:
            missing.append(name)
        elif first.setdefault(number, name) != name:
            links[name] = first[number]
    return missing, links


def _missing(pictures: FolderPictures, name: str) -> str:
    found = pictures.instead(name)
    return f"{name} ({found})" if found else name


def _listing(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders) or "no folder"
