"""`xpet translate --list-packages` and `--install`: what is installed, and new packages from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpet.core.errors import ConfigError
from xpet.core.paths import cache_folder
from xpet.jobs.results import PackageInfo, PackagesResult
from xpet.jobs.wiring import DEMO
from xpet.translation.packages import all_chains, best_of_pairs, find_packages, packages_folder


def packages_place(name: str | None) -> Path:
    """The folder meant by `--packages`: Argos' own, a folder of the user's, or the unpacked packages of the demo."""
    if name is None:
        return packages_folder()
    if name == DEMO:
        return _demo_packages()
    if not Path(name).is_dir():
        raise ConfigError(f"--packages: expected a folder of Argos packages or '{DEMO}', found no folder {name}")
    return Path(name)


def _demo_packages() -> Path:
    """The shipped packages, unpacked into the cache where that was not done before."""
    import hashlib

    from xpet.demo import assets

    files = sorted(assets.PACKAGES.iterdir())
    state = hashlib.sha256(assets.MANIFEST.read_bytes()).hexdigest()[:12]
    folder = cache_folder() / "demo-packages" / state
    missing = [file for file in files if not (folder / file.stem).is_dir()]
    if missing:
        from xpet.translation.install import install

        install(missing, folder)
    return folder


def list_packages(place: str | None = None) -> PackagesResult:
    """The packages of a folder (see `packages_place`) and the pairs they serve."""
    folder = packages_place(place)
    packages, problems = find_packages(folder)
    used = set(best_of_pairs(packages).values())
    return PackagesResult(
        folder=str(folder),
        packages=tuple(PackageInfo(p.pair, p.version, str(p.folder), p in used) for p in packages),
        chains={f"{a}-{b}": tuple(p.pair for p in chain) for (a, b), chain in all_chains(packages).items()},
        problems=tuple(problems),
    )


def install_packages(files: Sequence[str]) -> PackagesResult:
    """Check and install package files, all or none; raises ModelError or OutputError.

    The result's `packages` are those of the files, `chains` what all packages now serve.
    """
    if not files:
        raise ConfigError("--install: expected .argosmodel files, found none")
    from xpet.translation.install import install

    outcomes = install([Path(file) for file in files], packages_folder())
    after = list_packages()
    used = {info.folder for info in after.packages if info.used}
    return PackagesResult(
        folder=after.folder,
        packages=tuple(
            PackageInfo(
                o.package.pair, o.package.version, str(o.package.folder), str(o.package.folder) in used, o.sha256, o.new
            )
            for o in outcomes
        ),
        chains=after.chains,
        problems=after.problems,
    )
