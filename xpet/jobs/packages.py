"""`xpet translate --list-packages` and `--install`: what is installed, and new packages from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xpet.core.errors import ConfigError
from xpet.jobs.results import PackageInfo, PackagesResult
from xpet.translation.packages import all_chains, best_of_pairs, find_packages, packages_folder


def list_packages() -> PackagesResult:
    """The packages of Argos' package folder and the pairs they serve."""
    folder = packages_folder()
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
