"""`xpet translate --list-packages` and `--install`: lists packages, and installs them from files and the index."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xpet.core.errors import ConfigError, ModelError
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.files import writing
from xpet.core.paths import cache_folder
from xpet.jobs.results.translate import PackageInfo, PackagesResult
from xpet.jobs.shared.package_folder import package_folder
from xpet.translation.packages import all_chains, best_of_pairs, find_packages, packages_folder, version_number

if TYPE_CHECKING:
    from xpet.translation.install import InstalledFile

ENDING = ".argosmodel"

Pair = tuple[str, str]
"""Source and target code of Argos."""


def list_packages(name: str | None = None) -> PackagesResult:
    """The packages of a folder (`name` as in `--packages`) and the pairs they serve; raises ConfigError, ModelError."""
    folder = package_folder(name)
    packages, problems = find_packages(folder)
    used = set(best_of_pairs(packages).values())
    return PackagesResult(
        folder=str(folder),
        packages=tuple(PackageInfo(p.pair, p.version, str(p.folder), p in used) for p in packages),
        chains={f"{a}-{b}": tuple(p.pair for p in chain) for (a, b), chain in all_chains(packages).items()},
        problems=tuple(problems),
    )


def install_packages(names: Sequence[str], on_event: OnEvent = ignore) -> PackagesResult:
    """Check and install package files and pairs of the Argos index, all or none.

    A pair that is installed in the index's newest version is not downloaded. The result's `packages` are the requested
    ones; its `chains` are what all packages serve afterwards.

    Raises the XpetError family; nothing is downloaded unless every pair is in the index.
    """
    if not names:
        raise ConfigError(f"--install: expected {ENDING} files or pairs such as de-en, found none")
    requested = [_parse(name) for name in dict.fromkeys(names)]
    from xpet.translation.install import install

    current: dict[Pair, PackageInfo] = {}
    with _scratch() as scratch:
        downloads = _download([name for name in requested if isinstance(name, tuple)], current, scratch, on_event)
        missing = [name for name in requested if name not in current]
        files = [name if isinstance(name, Path) else downloads[name][0] for name in missing]
        pairs = {path: "-".join(pair) for pair, (path, _) in downloads.items()}
        try:
            results = install(files, packages_folder(), pairs)
        except ModelError as error:
            raise ModelError(_with_links(str(error), downloads)) from error
    after = list_packages()
    used = {info.folder for info in after.packages if info.used}
    infos: dict[Path | Pair, PackageInfo] = dict(current.items())
    infos |= {name: _info(file, used) for name, file in zip(missing, results, strict=True)}
    return PackagesResult(after.folder, tuple(infos[name] for name in requested), after.chains, after.problems)


def _info(file: InstalledFile, used: Container[str]) -> PackageInfo:
    package, folder = file.package, str(file.package.folder)
    return PackageInfo(package.pair, package.version, folder, folder in used, file.sha256, file.new)


def _parse(name: str) -> Path | Pair:
    """The file, or the pair of languages, that an argument of `--install` names. Raises ConfigError for neither."""
    from xpet.translation.index import parse_pair

    if Path(name).exists() or name.endswith(ENDING):
        return Path(name)
    pair = parse_pair(name)
    if pair is None:
        raise ConfigError(f"--install: expected a pair such as de-en, or an {ENDING} file that is there, found {name}")
    if pair[0] == pair[1]:
        raise ConfigError(f"--install: expected two languages, found {name}")
    return pair


def _download(
    pairs: Sequence[Pair], current: dict[Pair, PackageInfo], scratch: Path, on_event: OnEvent
) -> dict[Pair, tuple[Path, str]]:
    """Download the pairs whose newest version is not installed: file and link by pair. Adds the others to `current`."""
    if not pairs:
        return {}
    from xpet.translation.index import download, find_offer, index_address, read_index
    from xpet.translation.install import recorded_sha256

    best = best_of_pairs(find_packages(packages_folder())[0])
    address = index_address()
    offers = read_index(address)
    newest = {pair: find_offer(offers, *pair) for pair in pairs}
    files = {}
    for pair, offer in newest.items():
        old = best.get(pair)
        if old is not None and version_number(old.version) >= version_number(offer.version):
            sha = recorded_sha256(old.folder)
            current[pair] = PackageInfo(old.pair, old.version, str(old.folder), True, sha, False)
            continue
        if old is not None:
            on_event(Notice(f"{old.pair}: version {old.version} is installed, {offer.version} is in the index"))
        stage = f"download {offer.pair}"

        def on_bytes(done: int, total: int, stage: str = stage) -> None:
            on_event(Progress(stage, done, max(done, total), unit="bytes"))

        files[pair] = download(offer, scratch, address, on_bytes)
    return files


def _with_links(text: str, downloads: dict[Pair, tuple[Path, str]]) -> str:
    """The message with the links of downloaded files in place of their paths, which are gone."""
    for path, link in downloads.values():
        text = text.replace(str(path), link)
    return text


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for downloads in xpet's cache, which is removed after the block."""
    folder = cache_folder() / "downloads" / uuid.uuid4().hex
    with writing(f"the cache {folder.parent}", "set XPET_CACHE"):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
