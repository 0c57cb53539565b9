"""`xpet eval --list-models`: the model families that are read, with published checkpoints and what was verified."""

from __future__ import annotations

from dataclasses import asdict

from xpet.jobs.results.models import FamilyInfo, ModelsResult


def list_models() -> ModelsResult:
    """The families in the order in which they are told apart."""
    from xpet.models.families import FAMILIES

    return ModelsResult(
        tuple(FamilyInfo(family.name, partners=family.partners, **asdict(family.facts)) for family in FAMILIES)
    )
