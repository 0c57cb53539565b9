"""Finds installed Argos packages, and the chain of packages that translates a pair of languages."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xpet.core.captions import PIVOT
from xpet.core.errors import ModelError, one_line
from xpet.core.json_files import parsed
from xpet.core.regular_files import read_bytes

CODE = re.compile(r"[a-z]{2,3}(-[a-z0-9]+)*", re.IGNORECASE)
TOKENIZERS = ("sentencepiece.model", "bpe.model")
MAX_METADATA = 1 << 20
MAX_NAMED = 3  # broken packages a message names


@dataclass(frozen=True)
class Installed:
    """A translation package in a folder of its own."""

    folder: Path
    source: str
    target: str
    version: str

    @property
    def pair(self) -> str:
        """Source and target code, as `de-en`."""
        return f"{self.source}-{self.target}"

    @property
    def rank(self) -> tuple[list[int], str]:
        """Version, then name: of several packages for one pair the one with the highest rank is used."""
        return version_number(self.version), self.folder.name


def version_number(version: str) -> list[int]:
    """A version as a list of numbers, so that 1.10 is newer than 1.9."""
    return [int(number) for number in re.findall(r"\d+", version)]


def packages_folder() -> Path:
    """Argos' own package folder (`ARGOS_PACKAGES_DIR`, else below `XDG_DATA_HOME`); not created here."""
    if chosen := os.environ.get("ARGOS_PACKAGES_DIR"):
        return Path(chosen)
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "argos-translate" / "packages"


def find_packages(folder: Path) -> tuple[list[Installed], list[str]]:
    """The usable translation packages of a folder, the best of each pair first, and the problems of broken ones.

    Raises ModelError for a folder that cannot be read.
    """
    packages, problems = [], []
    try:
        paths = [path for path in sorted(folder.iterdir()) if path.is_dir()] if os.path.isdir(folder) else []
    except OSError as error:
        raise ModelError(f"{folder}: expected a folder of packages, found none to read ({error.strerror})") from error
    for path in paths:
        if path.name.startswith("."):
            continue
        try:
            package = read_installed(path)
        except ModelError as error:
            problems.append(str(error))
            continue
        if package is not None:
            packages.append(package)
    packages.sort(key=lambda p: p.rank, reverse=True)
    return sorted(packages, key=lambda p: p.pair), problems


def read_installed(folder: Path) -> Installed | None:
    """The package in a folder, None if it is of another type than `translate`. Raises ModelError for a broken one."""
    facts = read_metadata(folder)
    if facts.get("type", "translate") != "translate":
        return None
    if any("\ud800" <= char <= "\udfff" for char in str(folder)):  # bytes of a name that are no UTF-8
        raise ModelError(f"package {str(folder)!r}: expected a path in UTF-8, which its tokenizer needs; rename it")
    missing = [name for name in ("model/model.bin",) if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in TOKENIZERS):
        missing.append(" or ".join(TOKENIZERS))
    if missing:
        raise ModelError(f"package {folder}: expected {' and '.join(missing)}, found none")
    return Installed(folder, facts["from_code"], facts["to_code"], str(facts.get("package_version", "")))


def read_metadata(folder: Path) -> dict[str, Any]:
    """The checked metadata of a package folder; raises ModelError."""
    path = folder / "metadata.json"
    try:
        if path.stat().st_size > MAX_METADATA:
            raise ValueError(f"more than {MAX_METADATA} bytes")
        facts = parsed(read_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"package {folder}: expected metadata.json, found none") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"package {folder}: expected readable metadata.json, found {error}") from error
    if not isinstance(facts, dict):
        raise ModelError(f"package {folder}: expected an object in metadata.json, found {type(facts).__name__}")
    if facts.get("type", "translate") == "translate":
        for name in ("from_code", "to_code"):
            if not (isinstance(facts.get(name), str) and CODE.fullmatch(facts[name])):
                raise ModelError(
                    f"package {folder}: expected a language in {name}, found {one_line(repr(facts.get(name)))}"
                )
        if not isinstance(facts.get("target_prefix", ""), str):
            raise ModelError(
                f"package {folder}: expected text in target_prefix, found {one_line(repr(facts['target_prefix']))}"
            )
    return facts


def best_of_pairs(packages: Sequence[Installed]) -> dict[tuple[str, str], Installed]:
    """The package that is used for each pair (source, target), from packages sorted as `find_packages` does."""
    best: dict[tuple[str, str], Installed] = {}
    for package in packages:
        best.setdefault((package.source, package.target), package)
    return best


def find_chain(packages: Sequence[Installed], source: str, target: str) -> tuple[Installed, ...] | None:
    """The packages that translate a pair: one, or two through English; None when packages are missing."""
    best = best_of_pairs(packages)
    if (source, target) in best:
        return (best[source, target],)
    hops = (best.get((source, PIVOT)), best.get((PIVOT, target)))
    return (hops[0], hops[1]) if hops[0] and hops[1] else None


def all_chains(packages: Sequence[Installed]) -> dict[tuple[str, str], tuple[Installed, ...]]:
    """The chain of every pair of languages that has one."""
    codes = sorted({code for p in packages for code in (p.source, p.target)})
    pairs = [(source, target) for source in codes for target in codes if source != target]
    return {pair: chain for pair in pairs if (chain := find_chain(packages, *pair))}


def need_chain(folder: Path, source: str, target: str) -> tuple[Installed, ...]:
    """The chain of a pair. Raises ModelError, which says what is missing and how to install it."""
    packages, problems = find_packages(folder)
    chain = find_chain(packages, source, target)
    if chain is not None:
        return chain
    best = best_of_pairs(packages)
    if PIVOT in (source, target):
        missing = [f"{source}-{target}"]
        expected = f"an Argos package {source}-{target}"
    else:
        missing = [f"{a}-{b}" for a, b in ((source, PIVOT), (PIVOT, target)) if (a, b) not in best]
        expected = f"an Argos package {source}-{target}, or {source}-{PIVOT} and {PIVOT}-{target}"
    installed = ", ".join(dict.fromkeys(p.pair for p in packages)) or "none"
    more = [f"{len(problems) - MAX_NAMED} more"] if len(problems) > MAX_NAMED else []
    broken = f" (and broken: {'; '.join(problems[:MAX_NAMED] + more)})" if problems else ""
    pairs = " ".join(missing)
    files = " ".join(f"translate-{pair.replace('-', '_')}.argosmodel" for pair in missing)
    raise ModelError(
        f"cannot translate {source} to {target}: expected {expected} in {folder}, found {installed}{broken}; "
        f"install what is missing: xpet translate --install {pairs} (from the Argos index), or offline from its file: "
        f"xpet translate --install {files}"
    )
