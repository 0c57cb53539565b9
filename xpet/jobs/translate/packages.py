"""`xpet translate --list-packages` and `--install`: what is installed, and new packages from files and the index."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xpet.core.errors import ConfigError, ModelError
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.files import writing
from xpet.core.paths import cache_folder
from xpet.jobs.results.translate import PackageInfo, PackagesResult
from xpet.jobs.shared.package_folder import package_folder
from xpet.translation.packages import all_chains, best_of_pairs, find_packages, packages_folder, version_number

ENDING = ".argosmodel"

Pair = tuple[str, str]


def list_packages(place: str | None = None) -> PackagesResult:
    """The packages of a folder (see `package_folder`) and the pairs they serve."""
    folder = package_folder(place)
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

    A pair that is installed in the index's newest version is not downloaded. The result's `packages` are those asked
    for, `chains` what all packages now serve.

    Raises the XpetError family; nothing is downloaded unless every pair is in the index.
    """
    if not names:
        raise ConfigError(f"--install: expected {ENDING} files or pairs such as de-en, found none")
    asked = [_parse(name) for name in dict.fromkeys(names)]
    from xpet.translation.install import install

    there: dict[Pair, PackageInfo] = {}
    with _scratch() as scratch:
        fetched = _download([name for name in asked if isinstance(name, tuple)], there, scratch, on_event)
        wanted = [name for name in asked if name not in there]
        files = [name if isinstance(name, Path) else fetched[name][0] for name in wanted]
        pairs = {path: "-".join(pair) for pair, (path, _) in fetched.items()}
        try:
            outcomes = install(files, packages_folder(), pairs)
        except ModelError as error:
            raise ModelError(_with_links(str(error), fetched)) from error
    after = list_packages()
    used = {info.folder for info in after.packages if info.used}
    new = {
        name: PackageInfo(
            o.package.pair, o.package.version, str(o.package.folder), str(o.package.folder) in used, o.sha256, o.new
        )
        for name, o in zip(wanted, outcomes, strict=True)
    }
    packages = tuple((there | new)[name] for name in asked)
    return PackagesResult(after.folder, packages, after.chains, after.problems)


def _parse(name: str) -> Path | Pair:
    """A file, or a pair of the index; raises ConfigError for what is neither."""
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
    pairs: Sequence[Pair], there: dict[Pair, PackageInfo], scratch: Path, on_event: OnEvent
) -> dict[Pair, tuple[Path, str]]:
    """Files and links of the pairs that are not installed in the newest version; the others go to `there`."""
    if not pairs:
        return {}
    from xpet.translation.index import download, find_offer, index_address, read_index
    from xpet.translation.install import recorded_sha256

    best = best_of_pairs(find_packages(packages_folder())[0])
    address = index_address()
    offers = read_index(address)
    found = {pair: find_offer(offers, *pair) for pair in pairs}
    files = {}
    for pair, offer in found.items():
        old = best.get(pair)
        if old is not None and version_number(old.version) >= version_number(offer.version):
            sha = recorded_sha256(old.folder)
            there[pair] = PackageInfo(old.pair, old.version, str(old.folder), True, sha, False)
            continue
        if old is not None:
            on_event(Notice(f"{old.pair}: version {old.version} is installed, {offer.version} is in the index"))
        stage = f"download {offer.pair}"

        def on_bytes(done: int, total: int, stage: str = stage) -> None:
            on_event(Progress(stage, done, max(done, total), unit="bytes"))

        files[pair] = download(offer, scratch, address, on_bytes)
    return files


def _with_links(text: str, fetched: dict[Pair, tuple[Path, str]]) -> str:
    """The message with the links of downloaded files, which are gone, instead of their paths."""
    for path, link in fetched.values():
        text = text.replace(str(path), link)
    return text


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder in xpet's cache that is gone after the block."""
    folder = cache_folder() / "downloads" / uuid.uuid4().hex
    with writing(f"the cache {folder.parent}", "set XPET_CACHE"):
        folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
