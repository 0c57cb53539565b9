"""Finds and opens pictures in folders, and tells which names mean the same picture."""

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
from xpet.core.regular_files import open_regular

if TYPE_CHECKING:
    from PIL.Image import Image

LISTED = 3
"""How many missing pictures an error names."""
_PLAIN = re.compile(r"(?:(?!\.{0,2}(?:/|\Z))[\x01-\x2e\x30-\x5b\x5d-\x7f]+(?:/(?!\Z)|\Z))+")
"""Names that `canonical` leaves alone: relative, in ASCII, without a backslash or an empty, . or .. part."""


@dataclass(frozen=True)
class FolderPictures:
    """An ImageSource over folders, in which a name (or absolute path) is looked for in order.

    Where none has a file of that very name, other spellings are tried: backslashes as slashes, accents composed or
    decomposed, without `.` and `..`.
    """

    folders: tuple[Path, ...]

    def path(self, name: str) -> Path | None:
        """The path of the picture's file; None where there is none."""
        return next((Path(path) for path, _ in self._files(name)), None)

    def file_number(self, name: str) -> int | None:
        """A number of the picture's file, the same for all its names and links; None when there is no file."""
        return next((number for _, number in self._files(name)), None)

    def digest(self, name: str) -> str:
        """Sha256 hex digest of the file's bytes; raises DataError when it is missing or unreadable."""
        try:
            with open_regular(self._existing(name)) as file:
                return sha256_of(file)
        except OSError as error:
            raise DataError(f"picture {name}: expected a readable file, found {error}") from error

    def open(self, name: str) -> Image:
        """The picture upright in 8-bit RGB; raises DataError when it is missing, not a picture or cannot be shown."""
        from PIL import Image

        path = self._existing(name)
        with readable(name), Image.open(path) as picture:
            return rgb(picture, name)

    def obstacle(self, name: str) -> str:
        """What stands where the picture's file should be, in words: a folder, a broken link, ...; empty for nothing."""
        for path in self._candidates(name):
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
        """The picture's file; raises DataError when there is none."""
        path = self.path(name)
        if path is None:
            obstacle = self.obstacle(name) or "no such file"
            raise DataError(f"picture {name}: expected it in {_listing(self.folders)}, found {obstacle}")
        return path

    def _candidates(self, name: str) -> Iterator[str]:
        """Every path at which the picture may be; those with the name as it is spelled come first."""
        for folder in self.folders:
            yield os.path.join(folder, name)
        for spelling in _spellings(name):
            for folder in self.folders:
                yield os.path.join(folder, spelling)

    def _files(self, name: str) -> Iterator[tuple[str, int]]:
        """Path and number of every file the name may mean, the most likely first."""
        for path in self._candidates(name):
            try:
                about = os.stat(path)
            except (OSError, ValueError):  # no file, no permission, or a name that no file can have
                continue
            if stat.S_ISREG(about.st_mode):
                yield path, _number(path, about)


def _number(path: str, about: os.stat_result) -> int:
    """A number of a file; on file systems that do not number files a hash of its path."""
    return (about.st_dev << 64) + about.st_ino if about.st_ino else hash(os.path.realpath(path))


def _spellings(name: str) -> Sequence[str]:
    """Other spellings of a name that the file may have on this disk."""
    if _PLAIN.fullmatch(name):
        return ()
    slashed = name.replace("\\", "/")
    spellings = [slashed, posixpath.normpath(slashed)]
    spellings += [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in (name, *spellings)]
    return [spelling for spelling in dict.fromkeys(spellings) if spelling != name]


def canonical(name: str, root: str = "") -> str:
    """The canonical spelling of an image's name: composed accents (NFC), slashes, no `.`, `..` or empty parts.

    Below the absolute folder `root` it is relative to that. Two names with the same canonical spelling mean one
    picture, unless both are files and these differ; see `ImageNames`.
    """
    if _PLAIN.fullmatch(name):
        return name
    written = posixpath.join(root, unicodedata.normalize("NFC", name).replace("\\", "/"))
    path = posixpath.normpath(written)
    if path.startswith("//"):  # normpath keeps two slashes, as POSIX allows
        path = path[1:]
    return path.removeprefix(f"{root.rstrip('/')}/") if root else path


class ImageNames:
    """Gives every picture one name, whatever its spellings: the first spelling that was seen."""

    def __init__(self, pictures: FolderPictures) -> None:
        """`pictures` tell whether two names with one canonical spelling are two files all the same."""
        self._pictures = pictures
        self._root = canonical(os.path.abspath(pictures.folders[0])) if pictures.folders else ""
        self._names: dict[str, str] = {}
        self._spelling_of: dict[str, str] = {}  # canonical spelling -> the first one seen, where they differ

    def first_spelling(self, name: str) -> str:
        """The first spelling that was seen of the picture that `name` means."""
        spelling = self._names.get(name)
        if spelling is None:
            spelling = self._names[name] = self._first(name)
        return spelling

    def _first(self, name: str) -> str:
        """As `first_spelling`, for a name that was not seen before."""
        spelling = canonical(name, self._root)
        first = self._names.get(spelling) or self._spelling_of.get(spelling, name)
        if spelling != name:
            self._spelling_of.setdefault(spelling, name)
        return name if first != name and self._differ(first, name) else first

    def _differ(self, first: str, name: str) -> bool:
        """Whether both names have a file, and these are different files."""
        files = self._pictures.file_number(first), self._pictures.file_number(name)
        return None not in files and files[0] != files[1]


def match_spelling(names: Sequence[str], images: Sequence[str], pictures: object = None) -> list[str]:
    """The names as they are spelled in `images`; a name that means none of them is left as it is.

    `pictures`, if they are FolderPictures, show which names are links to one file, and which are different files.
    """
    known = set(images)
    if known.issuperset(names):
        return list(names)
    folder = pictures if isinstance(pictures, FolderPictures) else FolderPictures(())
    spellings = ImageNames(folder)
    for image in images:
        spellings.first_spelling(image)
    matched = [spellings.first_spelling(name) for name in names]
    unknown = [name for name in matched if name not in known]
    _, links = _missing_and_links(folder, [*images, *unknown]) if unknown and folder.folders else ([], {})
    return [links.get(name, name) for name in matched]


def unusable(name: object) -> list[str]:
    """The problem of a name that no file can have, as a list; empty for other names and for what is no text."""
    if not isinstance(name, str):
        return []
    try:
        name.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        pass
    else:
        if "\0" not in name:
            return []
    return [f"expected an image name, found {quoted(name)}, which no file can have"]


def find_pictures(
    folders: Sequence[Path], names: Sequence[str], problems: list[str], aliases: dict[str, str]
) -> FolderPictures | None:
    """The pictures of a data set; None when not a single one is there (features must then come from elsewhere).

    When only some are missing, a problem that counts them and names the first few is added to `problems`. For each name
    whose file has an earlier name in `names`, later name -> earlier name is added to `aliases`.
    """
    pictures = FolderPictures(tuple(folder for folder in folders if folder.is_dir()))
    missing, links = _missing_and_links(pictures, names)
    if len(missing) == len(names):
        return None
    aliases |= links
    if missing:
        few = ", ".join(_missing(pictures, name) for name in missing[:LISTED])
        problems.append(
            f"expected {len(names)} pictures in {_listing(pictures.folders)}, found {len(missing)} missing: "
            f"{few}{', ...' if len(missing) > LISTED else ''}; "
            "add them, or take all pictures away and give --image-features"
        )
    return pictures


def merge_aliases(split: Split, aliases: Mapping[str, str]) -> Split:
    """The split with one image for all names of a file; `aliases` maps later names to the first."""
    names = [aliases.get(image, image) for image in split.images]
    index_of = {name: index for index, name in enumerate(dict.fromkeys(names))}
    if len(index_of) == len(names):
        return split
    captions = {
        language: replace(column, image_index=tuple(index_of[names[image]] for image in column.image_index))
        for language, column in split.captions.items()
    }
    return Split(tuple(index_of), captions)


def _missing_and_links(pictures: FolderPictures, names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names without a file; and, for each name whose file has an earlier name as well, that earlier name."""
    first: dict[int, str] = {}
    missing, links = [], {}
    for name in names:
        number = pictures.file_number(name)
        if number is None:
            missing.append(name)
        elif first.setdefault(number, name) != name:
            links[name] = first[number]
    return missing, links


def _missing(pictures: FolderPictures, name: str) -> str:
    """A picture without a file, for a message, with what there is instead."""
    obstacle = pictures.obstacle(name)
    return f"{name} ({obstacle})" if obstacle else name


def _listing(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders) or "no folder"
