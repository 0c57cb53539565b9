"""Configurations: every problem at once, in words that say what to do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from xpet.core import choices
from xpet.core.config import (
    TRAIN_PARTS,
    AlignConfig,
    AlignPlan,
    DataConfig,
    FitConfig,
    FitPlan,
    MethodConfig,
    ModelConfig,
    RunConfig,
    TranslateConfig,
    TranslateDataConfig,
    to_dict,
)
from xpet.core.config.seeds import seed_problems, torch_seed_problems
from xpet.core.errors import EXIT_BAD_INPUT, ConfigError

GOOD = AlignConfig(("de",))


def problems(config: AlignConfig) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as error:
        config.check()
    assert error.value.exit_code == EXIT_BAD_INPUT == 2
    assert str(error.value) == "; ".join(error.value.problems)
    assert "\n" not in str(error.value)
    return error.value.problems


def changed(**changes: object) -> AlignConfig:
    return dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]


def test_defaults_are_good() -> None:
    plan = GOOD.check()
    assert plan.check() == plan == AlignPlan(model=ModelConfig("demo"), data=DataConfig("demo", shots=100))
    assert list(plan.runs()) == [RunConfig("de")]
    assert plan.fit == FitPlan()


def test_every_problem_is_shown_at_once() -> None:
    config = AlignConfig(
        languages=("de",),
        method=MethodConfig("lorra", rank=0, alpha=-1.0, train=("head", "heads")),
        fit=FitConfig(batch_size=1, epochs=0, device="cuda:9", select="best", stack=0),
        data=DataConfig(shots=1),
        routines=("1", "4"),
        losses=("mse", "cosin"),
        learning_rates=(1e-3, -1e-3),
        align_weights=(0.1, -0.5),
    )
    found = problems(config)
    assert [text.split(",")[0].split(":")[0] for text in found] == [
        "rank must be positive", "alpha must be positive", "unknown method 'lorra'", "unknown part to train 'heads'",
        "epochs must be at least 1", "stack must be at least 1", "unknown selection rule 'best'",
        "unknown device 'cuda", "batch size 1 leaves a contrastive loss nothing to tell apart",
        "learning rate must be positive", "align weight must not be negative", "unknown routine '4'",
        "unknown loss 'cosin'",
        "shots must be at least 2",
    ]  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), [
    ({"routines": ("routine4",)}, "unknown routine 'routine4': expected one of baseline-target, baseline-translated, "
     "routine1, routine2, routine3, text, 1, 2, 3; did you mean 'routine"),
    ({"losses": ("msee",)}, "unknown loss 'msee': expected one of mse, mse-normalized, contrastive, "
     "contrastive-image, cosine; did you mean 'mse'?"),
    ({"losses": ("zzz",)}, "unknown loss 'zzz': expected one of mse, mse-normalized, contrastive, "
     "contrastive-image, cosine"),
    ({"method": MethodConfig("adaptor")}, "unknown method 'adaptor': expected one of lora, adapter, compacter, "
     "soft-prompt, bitfit, full, linear-map; did you mean 'adapter'?"),
    ({"method": MethodConfig("linear-map", maps=("shear",))}, "unknown map 'shear': expected one of shift, rotation, "
     "ridge"),
    ({"method": MethodConfig("linear-map", maps=())}, "map: expected at least one of shift, rotation, ridge, found "),
    ({"method": MethodConfig("linear-map"), "routines": ("1", "baseline-target")}, "--method linear-map is fitted to "
     "English captions: expected --routine routine1 or routine2 or routine3 or text, found baseline-target, which "
     "aligns with none"),
    ({"method": MethodConfig("linear-map"), "start": "run"}, "--method linear-map is fitted anew each time: leave out "
     "--from run"),
    ({"method": MethodConfig("prefix")}, "method 'prefix' is not supported: OpenDelta's prefix tuning knows neither "
     "XLM-R's attention nor transformers 5; use --method soft-prompt"),
    ({"method": MethodConfig(bottleneck=-3)}, "bottleneck must be positive, found -3"),
    ({"fit": FitConfig(device="cud")}, "unknown device 'cud': expected one of auto, cpu, cuda; did you mean 'cuda'?"),
    ({"fit": FitConfig(precision="fp16")}, "unknown precision 'fp16': expected one of auto, fp32, tf32, bf16; "
     "did you mean '"),
    ({"fit": FitConfig(dropout="on")}, "unknown dropout 'on': expected one of off, model"),
    ({"fit": FitConfig(batch_size=1)}, "batch size 1 leaves a contrastive loss nothing to tell apart: "
     "expected at least 2"),
    ({"fit": FitConfig(batch_size=0)}, "batch size must be at least 1, found 0"),
    ({"fit": FitConfig(steps=0)}, "steps must be at least 1, found 0"),
    ({"fit": FitConfig(validate_every=-1)}, "validate-every must be at least 1, found -1"),
    ({"data": DataConfig(shots=1)}, "shots must be at least 2, found 1"),
    ({"data": DataConfig(val_shots=1)}, "validation shots must be at least 2, found 1"),
    ({"data": DataConfig(shots="many")}, "shots: expected a number or 'all', found 'many'"),
    ({"data": DataConfig(split_seed=2**64)}, "split seed: expected a number of 64 bits, found 1844674407370955161"),
    ({"seeds": (-1,)}, "seed: expected a number from 0 to 2^63, found -1"),
    ({"preset": "papers"}, "unknown preset 'papers': expected one of default, paper; did you mean 'paper'?"),
    ({"model": ModelConfig(feature_precision="tf32")}, "unknown feature precision 'tf32': expected one of auto, fp32, "
     "bf16, fp16; did you me"),
    ({"chain": True}, "chain: expected its phases to be checked one by one, found them together; see pha"),
    ({"learning_rates": (-1e-4,)}, "learning rate must be positive, found -0.0001"),
    ({"learning_rates": (0.0,)}, "learning rate must be positive, found 0"),
    ({"learning_rates": (float("nan"),)}, "learning rate must be positive, found nan"),
    ({"align_weights": (-0.1,)}, "align weight must not be negative, found -0.1"),
    ({"align_weights": (float("nan"),)}, "align weight must not be negative, found nan"),
])  # fmt: skip
def test_each_problem_in_words(changes: dict[str, object], expected: str) -> None:
    (found,) = problems(changed(**changes))
    assert found.startswith(expected)
    assert len(found) < len(expected) + 12


def test_several_bad_names_are_several_problems() -> None:
    assert len(problems(changed(routines=("x", "y"), losses=("a", "b")))) == 4


def test_values_at_the_edge_are_fine() -> None:
    changed(align_weights=(0.0,), data=DataConfig(shots="all"), fit=FitConfig(batch_size=2, steps=1)).check()
    changed(data=DataConfig(shots=2, val_shots="all"), method=MethodConfig(train=TRAIN_PARTS)).check()


def test_check_spells_routines_out() -> None:
    checked = changed(routines=("3", "routine1", "baseline-target")).check()
    assert checked.routines == ("routine3", "routine1", "baseline-target")
    assert GOOD.routines == ("routine3",)


def test_runs_are_the_product_with_languages_outermost() -> None:
    config = changed(
        languages=("de", "ja"), routines=("1", "3"), losses=("mse", "cosine"), align_weights=(0.1, 0.3),
        learning_rates=(1e-4, 2e-4), seeds=(1, 2, 3),
    )  # fmt: skip
    runs = list(config.check().runs())
    assert len(runs) == len(set(runs)) == 2 * 2 * 2 * 2 * 2 * 3
    assert [run.language for run in runs] == ["de"] * 48 + ["ja"] * 48
    assert runs[0] == RunConfig("de", "routine1", "mse", 0.1, 1e-4, 1)
    assert runs[1] == RunConfig("de", "routine1", "mse", 0.1, 1e-4, 2)
    assert runs[3] == RunConfig("de", "routine1", "mse", 0.1, 2e-4, 1)
    assert runs[-1] == RunConfig("ja", "routine3", "cosine", 0.3, 2e-4, 3)
    assert {run.routine for run in runs} == {"routine1", "routine3"}
    assert len({run.label for run in runs}) == len(runs)


def test_label_is_a_folder_name() -> None:
    label = RunConfig("de", "routine3", "mse-normalized", 0.003, 5e-5, 42).label
    assert label == "de-routine3-mse-normalized-w0.003-lr5e-05-seed42"


def test_configurations_are_frozen_and_json_ready() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GOOD.overwrite = True  # type: ignore[misc]
    document = json.loads(json.dumps(to_dict(changed(method=MethodConfig(modules=("query",))))))
    assert document["languages"] == ["de"]
    assert document["method"]["modules"] == ["query"]
    assert document["data"]["shots"] is None
    assert to_dict(GOOD.check())["data"]["shots"] == 100
    assert list(document) == [field.name for field in dataclasses.fields(AlignConfig)]


def test_choices_equal_the_tables_they_stand_for() -> None:
    from xpet.data.sources import SOURCES
    from xpet.methods.combining import STRATEGIES
    from xpet.methods.parts import PARTS
    from xpet.methods.table import METHODS
    from xpet.translation.documents import WITH_COLUMNS

    assert tuple(WITH_COLUMNS) == choices.TABLE_ENDINGS
    assert tuple(METHODS) == choices.METHOD_NAMES
    assert tuple(name for name, row in METHODS.items() if row.closed_form) == choices.FITTED_METHODS
    assert tuple(STRATEGIES) == tuple(choices.STRATEGY_DENSITIES)
    assert ("demo", *SOURCES) == choices.SOURCE_NAMES
    assert (*PARTS, "embeddings") == TRAIN_PARTS
    assert not set(choices.UNSUPPORTED_METHODS) & set(METHODS)


def test_a_translation_is_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    plan = TranslateConfig("deu_Latn", "zh-Hant", "a.csv", column="caption").check()
    assert (plan.source, plan.target, plan.into) == ("de", "zt", "caption_zt")
    assert plan.check() == plan
    with pytest.raises(ConfigError) as error:
        TranslateConfig("de", "ger", "a.tsv", device="tpu", into="x", noise=2.0, reference_column="y").check()
    assert error.value.problems == (
        "expected two languages, found de for both --from and --to",
        "unknown device 'tpu': expected one of auto, cpu, cuda; did you mean 'cpu'?",
        "a.tsv has columns: expected the one to translate in --column, found none",
        "--into needs --column",
        "--noise: expected a rate from 0 to 1, found 2",
        "--reference-column is for .csv, .tsv and .jsonl files, found no --reference",
    )
    (tmp_path / "file").touch()
    data = TranslateDataConfig(("de",), DataConfig("demo"), "up", str(tmp_path / "file"), device="tpu", noise_seed=3)
    with pytest.raises(ConfigError) as error:
        data.check()
    assert error.value.problems == (
        "unknown direction 'up': expected one of to-pivot, from-pivot, both",
        "unknown device 'tpu': expected one of auto, cpu, cuda; did you mean 'cpu'?",
        "--noise-seed needs --noise",
        f"--out: expected a folder for the translations, found a file {tmp_path / 'file'}",
    )
    assert TranslateDataConfig(("de",), DataConfig("demo")).check() == TranslateDataConfig(("de",), DataConfig("demo"))


@pytest.mark.parametrize(("problems", "seed", "fine"), [
    (seed_problems, -1, False), (seed_problems, 0, True), (seed_problems, 2**63 - 1, True),
    (seed_problems, 2**63, False),
    (torch_seed_problems, -(2**63), True), (torch_seed_problems, 2**64 - 1, True), (torch_seed_problems, 2**64, False),
])  # fmt: skip
def test_seeds(problems: Callable[[str, int], list[str]], seed: int, fine: bool) -> None:
    assert (problems("seed", seed) == []) is fine
