"""Pictures in folders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

LISTED = 3
"""How many missing pictures an error names."""


@dataclass(frozen=True)
class FolderPictures:
    """An ImageSource over folders; a name (or absolute path) is looked for in each, in order."""

    folders: tuple[Path, ...]

    def path(self, name: str) -> Path | None:
        """Where the picture is, or None."""
        return next((path for folder in self.folders if (path := folder / name).is_file()), None)

    def digest(self, name: str) -> str:
        """Sha256 hex digest of the file's bytes; raises DataError when it is missing or unreadable."""
        try:
            with self._found(name).open("rb") as file:
                digest = hashlib.sha256()
                while block := file.read(1 << 20):
                    digest.update(block)
                return digest.hexdigest()
        except OSError as error:
            raise DataError(f"picture {name}: expected a readable file, found {error}") from error

    def open(self, name: str) -> Image:
        """The RGB picture; raises DataError when it is missing or not a picture."""
        from PIL import Image

        try:
            with Image.open(self._found(name)) as picture:
                return picture.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"picture {name}: expected a readable picture, found {error}") from error

    def _found(self, name: str) -> Path:
        path = self.path(name)
        if path is None:
            raise DataError(f"picture {name}: expected it in {_listing(self.folders)}, found no such file")
        return path


def find_pictures(folders: Sequence[Path], names: Sequence[str], problems: list[str]) -> FolderPictures | None:
    """The pictures of a data set, or None when not a single one is there (features must then come from elsewhere).

    When some are there and others missing, the missing are counted and the first few named in `problems`.
    """
    pictures = FolderPictures(tuple(folder for folder in folders if folder.is_dir()))
    missing = [name for name in names if pictures.path(name) is None]
    if len(missing) == len(names):
        return None
    if missing:
        few = ", ".join(missing[:LISTED]) + (", ..." if len(missing) > LISTED else "")
        problems.append(
            f"expected {len(names)} pictures in {_listing(pictures.folders)}, found {len(missing)} missing: {few}; "
            "add them, or take all pictures away and give --image-features"
        )
    return pictures


def _listing(folders: Sequence[Path]) -> str:
    return ", ".join(str(folder) for folder in folders) or "no folder"
