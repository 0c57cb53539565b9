"""Configuration files, environment variables and stored configurations, end to end through the command line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.command import run_here
from tests.jobs.conftest import World, world  # noqa: F401
from xpet.cli import align
from xpet.core.config import AlignConfig, EvalConfig

SETTINGS = """\
[align]
lang = ["de", "ja"]
lr = [1e-3, 3e-4]
shots = "all"
routine = [1, "text"]
validate_on = "pictures"
align-weight = 1
overwrite = true
corpus = "english.txt"

[eval]
resamples = 0
lang = "de,tr"
prompt = ["english", "native"]
fail-if-drop = 1.5

[merge]
dtype = "fp16"
shard-size = "500MB"
weights = [1, 1]
strategy = "linear"
verify = false

[translate]
packages = "demo"
from = "de"
to = "en"
direction = "to-pivot"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def xpet(folder: Path, *words: str, **environment: str) -> CompletedProcess[bytes]:
    variables = {"XPET_CACHE": str(folder.parent / "cache"), **environment}
    return run_here(*words, folder=folder, environment=variables)


def options(folder: Path, *words: str, **environment: str) -> dict[str, dict[str, Any]]:
    """What `--show-config --json` says."""
    done = xpet(folder, *words, "--show-config", "--json", **environment)
    assert (done.returncode, done.stderr) == (0, b"")
    document = json.loads(done.stdout)
    assert (document["command"], document["schema"]) == (words[0], 1)
    shown: dict[str, dict[str, Any]] = document["options"]
    return shown


def values(shown: Mapping[str, Mapping[str, Any]], source: str) -> dict[str, Any]:
    return {key: each["value"] for key, each in shown.items() if each["from"] == source}


def refused(folder: Path, *words: str, **environment: str) -> str:
    before = sorted(folder.parent.rglob("*"))
    done = xpet(folder, *words, **environment)
    text = done.stderr.decode()
    assert (done.returncode, done.stdout, text.count("\n")) == (2, b"", 1)
    assert sorted(folder.parent.rglob("*")) == before
    return text.removeprefix("xpet: error: ").rstrip()


def test_each_command_reads_its_table(folder: Path) -> None:
    (folder / "xpet.toml").write_text(SETTINGS)
    assert values(options(folder, "align"), "xpet.toml [align]") == {
        "lang": ["de", "ja"], "lr": [1e-3, 3e-4], "shots": "all", "routine": ["1", "text"], "validate-on": "pictures",
        "align-weight": [1.0], "overwrite": True, "corpus": ["english.txt"],
    }  # fmt: skip
    assert values(options(folder, "eval"), "xpet.toml [eval]") == {
        "resamples": 0, "lang": ["de", "tr"], "prompt": ["english", "native"], "fail-if-drop": 1.5,
    }  # fmt: skip
    assert values(options(folder, "merge", "a", "b", "-o", "c"), "xpet.toml [merge]") == {
        "dtype": "fp16", "shard-size": 500_000_000, "weights": [1.0, 1.0], "strategy": "linear", "verify": False,
    }  # fmt: skip
    assert values(options(folder, "translate"), "xpet.toml [translate]") == {
        "packages": "demo", "from": "de", "to": "en",
    }  # fmt: skip
    data = options(folder, "translate", "--data", "demo", "--lang", "de")
    assert values(data, "xpet.toml [translate]") == {"packages": "demo", "direction": "to-pivot"}


def test_flags_beat_the_environment_beats_the_file_beats_defaults(folder: Path) -> None:
    (folder / "xpet.toml").write_text('[align]\nlr = 1\nseed = 1\nshots = 30\nloss = "cosine"\n')
    shown = options(
        folder, "align", "--lr", "3", "--preset", "paper", XPET_ALIGN_LR="2", XPET_ALIGN_SEED="2,3", XPET_ALIGN_LOSS="",
        XPET_ALIGN_OVERWRITE="yes",
    )  # fmt: skip
    assert shown["lr"] == {"value": [3.0], "from": "flag"}
    assert shown["seed"] == {"value": [2, 3], "from": "XPET_ALIGN_SEED"}
    assert shown["overwrite"] == {"value": True, "from": "XPET_ALIGN_OVERWRITE"}
    assert shown["loss"] == {"value": ["cosine"], "from": "xpet.toml [align]"}  # an empty variable is none
    assert shown["shots"] == {"value": 30, "from": "xpet.toml [align]"}
    assert shown["batch-size"] == {"value": 5, "from": "preset paper"}
    assert shown["rank"] == {"value": 8, "from": "default"}
    assert shown["data"] == {"value": "demo", "from": "default"}


def test_a_switch_is_turned_off_again(folder: Path) -> None:
    (folder / "xpet.toml").write_text("[align]\noverwrite = true\n[merge]\nverify = false\n")
    assert options(folder, "align")["overwrite"]["value"] is True
    assert options(folder, "align", "--no-overwrite")["overwrite"] == {"value": False, "from": "flag"}
    assert options(folder, "align", XPET_ALIGN_OVERWRITE="0")["overwrite"]["value"] is False
    assert options(folder, "merge", "a", "-o", "b", "--verify")["verify"] == {"value": True, "from": "flag"}


def test_what_a_file_sets_for_something_else_is_left_out(folder: Path) -> None:
    (folder / "xpet.toml").write_text(
        '[align]\nmethod = "adapter"\nbottleneck = 8\nlines = 3\nepochs = 2\n[merge]\nweights = 1\nout = "x"\n'
        '[eval]\nformat = "csv"\n[translate]\ndata = "demo"\nlang = "de"\n'
    )
    assert options(folder, "align")["bottleneck"]["value"] == 8
    shown = options(folder, "align", "--method", "lora", "--steps", "5")
    assert shown["bottleneck"] == {"value": 24, "from": "default (left out: xpet.toml [align])"}
    assert shown["lines"]["value"] is None
    assert shown["epochs"] == {"value": 40, "from": "preset default"}
    assert options(folder, "align", "--routine", "text")["lines"]["value"] == 3
    shown = options(folder, "merge", "a", "--pack", "b")
    assert (shown["weights"]["value"], shown["out"]["value"], shown["pack"]["value"]) == (None, None, "b")
    assert options(folder, "merge", "a", XPET_MERGE_PACK="b")["out"]["value"] is None
    assert options(folder, "eval")["format"]["value"] is None  # --json was typed
    assert options(folder, "translate")["data"]["value"] == "demo"
    shown = options(folder, "translate", "--from", "de", "--to", "en")
    assert (shown["data"]["value"], shown["lang"]["value"]) == (None, None)


def test_show_config_is_a_table(folder: Path) -> None:
    (folder / "xpet.toml").write_text("[align]\nlr = [1e-3, 1e-4]\n")
    done = xpet(folder, "align", "--show-config", "--routine", "text,1", "--chain", "--quiet")
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert ["--lr", "0.001,0.0001", "xpet.toml", "[align]"] in rows
    assert ["--routine", "text,1", "flag"] in rows
    assert ["--batch-size", "-", "default"] in rows  # a chain: each phase's own
    assert ["--chain", "yes", "flag"] in rows
    assert done.stderr == b""
    assert sorted(folder.parent.rglob("*")) == [folder, folder / "xpet.toml"]


def test_pyproject(folder: Path) -> None:
    project = folder / "pyproject.toml"
    project.write_text("[project]\nname = 'x'\n[tool.other]\na = 1\n")
    assert options(folder, "align")["lr"]["from"] == "preset default"
    project.write_text("[project]\nname = 'x'\n[tool.xpet.align]\nlr = 2.0\n")
    assert options(folder, "align")["lr"] == {"value": [2.0], "from": "pyproject.toml [tool.xpet.align]"}
    (folder / "xpet.toml").write_text("[align]\nseed = 2\n")  # stands alone
    shown = options(folder, "align")
    assert (shown["lr"]["from"], shown["seed"]["from"]) == ("preset default", "xpet.toml [align]")
    shown = options(folder, "align", "--config", "pyproject.toml")
    assert (shown["lr"]["value"], shown["seed"]["from"]) == ([2.0], "default")


def test_a_named_file_and_no_other(folder: Path) -> None:
    (folder / "xpet.toml").write_text("[align]\nseed = 2\n")
    (folder.parent / "mine.toml").write_text("[align]\nlr = 2\n")
    shown = options(folder, "align", "--config", "../mine.toml")
    assert (shown["lr"]["from"], shown["seed"]["from"]) == ("../mine.toml [align]", "default")
    (folder / "below").mkdir()
    assert options(folder / "below", "align")["seed"]["from"] == "default"  # nothing is looked for above


def test_where_settings_come_from_is_told(folder: Path) -> None:
    (folder / "xpet.toml").write_text('[eval]\nlang = "xx"\nresamples = 0\n')
    done = xpet(folder, "eval", XPET_EVAL_SEED="3")
    assert done.returncode == 2
    first, second, error = done.stderr.decode().splitlines()
    assert first == "xpet: settings from xpet.toml [eval]: lang, resamples"
    assert second == "xpet: settings from XPET_EVAL_SEED: seed"
    assert error.startswith("xpet: error: unknown language of demo 'xx'")
    assert xpet(folder, "eval", "--quiet").stderr.decode().count("\n") == 1


@pytest.mark.parametrize(("text", "problem"), [
    ("[algin]\n", "xpet.toml: unknown table 'algin': expected one of align, eval, merge, translate; did you mean"),
    ("lr = 1\n", "xpet.toml: unknown table 'lr'"),
    ("align = 1\n", "xpet.toml [align]: expected a table, found 1"),
    ("[align]\nlearning-rate = 1\n", "xpet.toml [align]: unknown option 'learning-rate'; xpet align --help-all shows"),
    ("[align]\nlrr = 1\n", "xpet.toml [align]: unknown option 'lrr'; did you mean 'lr'? xpet align --help-all shows"),
    ("[align]\nshow-config = true\n", "xpet.toml [align]: option 'show-config': --show-config is only typed"),
    ("[align]\nlr = 'fast'\n", "xpet.toml [align] lr: expected numbers separated by commas, found 'fast'"),
    ("[align]\nlr = true\n", "xpet.toml [align] lr: expected numbers, found True"),
    ("[align]\nepochs = 2.5\n", "xpet.toml [align] epochs: expected a whole number, found 2.5"),
    ("[align]\noverwrite = 1\n", "xpet.toml [align] overwrite: expected true or false, found 1"),
    ("[align]\nmodel = 3\n", "xpet.toml [align] model: expected text, found 3"),
    ("[align]\nshots = 'many'\n", "xpet.toml [align] shots: expected one whole number or 'all', found 'many'"),
    ("[align]\nlr = -1\nseed = 2\n", "learning rate must be positive, found -1 (set by xpet.toml [align] lr)"),
    ("[align]\nmethod = 'lorra'\n", "unknown method 'lorra': expected one of lora, adapter, compacter, soft-prompt, "
     "bitfit, full, linear-map; did you mean 'lora'? (set by xpet.toml [align] method)"),
    ("[align\n", "xpet.toml: expected TOML, found something else: "),
])  # fmt: skip
def test_what_is_wrong_with_a_file(text: str, problem: str, folder: Path) -> None:
    (folder / "xpet.toml").write_text(text)
    assert refused(folder, "align").startswith(problem)


def test_what_is_wrong_with_variables(folder: Path) -> None:
    assert refused(folder, "align", XPET_ALIGN_LRR="1") == (
        "unknown environment variable 'XPET_ALIGN_LRR'; did you mean 'XPET_ALIGN_LR'? xpet align --help-all shows "
        "every option"
    )
    assert refused(folder, "align", XPET_ALIGN_LR="x").startswith("XPET_ALIGN_LR: expected numbers separated by ")
    assert refused(folder, "align", XPET_ALIGN_STEPS="x") == "XPET_ALIGN_STEPS: expected a whole number, found 'x'"
    assert refused(folder, "align", XPET_ALIGN_CHAIN="x") == "XPET_ALIGN_CHAIN: expected 1 or 0, found 'x'"
    assert refused(folder, "align", XPET_ALIGN_DEVICE="tpu").endswith("(set by XPET_ALIGN_DEVICE)")
    assert options(folder, "align", XPET_EVAL_LRR="1")["lr"]["from"] == "preset default"  # another command's


def test_what_is_wrong_with_a_named_file(folder: Path) -> None:
    assert refused(folder, "align", "--config", "no.toml").startswith("no.toml: expected a configuration file, found")
    assert refused(folder, "align", "--config", "no").startswith("--config no: expected a configuration file, found")
    (folder / "x.json").write_text("[]")
    assert refused(folder, "eval", "--config", "x.json") == "x.json: expected a JSON object, found list"
    (folder / "x.json").write_text("{")
    assert refused(folder, "eval", "--config", "x.json").startswith("x.json: expected a .toml file or a JSON document")
    (folder / "x.json").write_text('{"configuration": {"resamples": "many"}}')
    assert refused(folder, "eval", "--config", "x.json") == (
        "x.json: configuration: resamples: expected a whole number, found 'many'"
    )
    (folder / "x.json").write_text('{"schema": 1, "run": {}}')
    assert refused(folder, "eval", "--config", "x.json").startswith("x.json: expected an object configuration, found n")
    assert refused(folder, "align", "--config", "x.json").startswith("x.json: run: ")
    (folder / "x.json").write_text('{"schema": 9}')
    assert refused(folder, "align", "--config", "x.json") == (
        "x.json: expected schema 1 of a run's config.json, found 9"
    )
    assert "takes a .toml file" in refused(folder, "merge", "a", "-o", "b", "--config", "x.json")


def test_python_reads_neither(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "xpet.toml").write_text("[align]\nlr = 1\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XPET_ALIGN_SEED", "7")
    assert AlignConfig().check().learning_rates == (5e-4,)
    assert align.build({}) == AlignConfig()


def test_a_run_is_trained_again_by_its_stored_configuration(world: World, folder: Path) -> None:  # noqa: F811
    done = xpet(
        folder, "align", "--lang", "de", "--shots", "12", "--steps", "4", "--validate-every", "2", "--data", "table",
        "--data-root", str(world.table), "--model", str(world.text), "--image-features", str(world.features),
        "--method", "adapter", "--bottleneck", "6", "--train", "layernorm,head", "--align-weight", "0.3",
        "--seed", "3", "--select", "mrr", "--routine", "1", "-o", "first", "--quiet",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for number, given in enumerate(("first", "first/config.json")):
        out = f"again{number}"
        done = xpet(folder, "align", "--config", given, "-o", out, "--quiet")
        assert done.returncode == 0, done.stderr
        for file in ("config.json", "history.jsonl", "split.json"):
            assert (folder / out / file).read_bytes() == (folder / "first" / file).read_bytes(), file
        metrics = [json.loads((folder / run / "metrics.json").read_text()) for run in ("first", out)]
        own = ("folder", "seconds", "peak_memory")
        assert metrics[0] | dict.fromkeys(own) == metrics[1] | dict.fromkeys(own)
    shown = options(folder, "align", "--config", "first", "--lang", "ja", "--method", "lora", "--epochs", "3")
    assert shown["lang"] == {"value": ["ja"], "from": "flag"}
    assert shown["train"] == {"value": ["layernorm", "head"], "from": "first"}
    assert shown["bottleneck"] == {"value": 24, "from": "default"}
    assert (shown["epochs"]["value"], shown["steps"]["value"]) == (3, None)
    done = xpet(folder, "eval", "first", "--lang", "de", "--text", "target", "--resamples", "0", "--json")
    (folder / "result.json").write_bytes(done.stdout)
    again = xpet(folder, "eval", "--config", "result.json", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout) == json.loads(done.stdout)


@pytest.mark.parametrize("config", [
    AlignConfig(("tr",)), AlignConfig(("tr",), preset="paper"), AlignConfig(("tr",), routines=("text",)),
    AlignConfig(("tr",), routines=("baseline-target",), start="run"), AlignConfig(("tr",), image_weight=0.5),
])  # fmt: skip
def test_every_setting_of_a_run_comes_back(config: AlignConfig) -> None:
    from dataclasses import asdict

    from xpet.core.config import to_dict
    from xpet.core.config.stored import align_config

    plan = config.check()
    for run in plan.runs():
        shared = {name: to_dict(getattr(plan, name)) for name in ("model", "data", "method", "fit")}
        stored = {"schema": 1, "run": asdict(run), **shared, "text": to_dict(plan.text)}
        stored |= {"from": plan.start} if plan.start else {}
        again = align_config(json.loads(json.dumps(stored)), "config.json").check()
        assert list(again.runs()) == [run]
        assert (again.model, again.data, again.method, again.fit) == (plan.model, plan.data, plan.method, plan.fit)
        assert (again.text, again.start) == (plan.text, plan.start)


def test_a_stored_result_comes_back() -> None:
    from xpet.core.config import to_dict
    from xpet.core.config.stored import eval_config

    config = EvalConfig(languages=("de",), prompts=("english", "native"), ensemble=True, resamples=5)
    assert eval_config(json.loads(json.dumps({"configuration": to_dict(config)})), "x") == config


def test_what_is_left_out_is_said(folder: Path) -> None:
    (folder / "xpet.toml").write_text('[align]\nlang = "tr"\nbottleneck = 8\n')
    done = xpet(folder, "align", "--data", "xtd", XPET_ALIGN_LINES="5")  # stops for want of --data-root
    told = done.stderr.decode().splitlines()
    assert "settings from xpet.toml [align]: lang" in told[0]
    assert any("left out: bottleneck of xpet.toml [align], which belongs to --method adapter" in line for line in told)
    assert any("left out: lines of XPET_ALIGN_LINES, which belongs to --routine text" in line for line in told)


@pytest.mark.parametrize(("variable", "problem"), [
    ("XPET_ALING_LR", "unknown environment variable 'XPET_ALING_LR'; did you mean 'XPET_ALIGN_LR'?"),
    ("XPET_LR", "unknown environment variable 'XPET_LR'"),
    ("XPET_ALIGN_CONFIG", "environment variable 'XPET_ALIGN_CONFIG': --config is only typed; leave it out here"),
])  # fmt: skip
def test_variables_that_set_nothing(variable: str, problem: str, folder: Path) -> None:
    assert refused(folder, "align", "--show-config", **{variable: "1"}).startswith(problem)
    assert options(folder, "align", **{variable: ""})  # an empty one is not set


def test_variables_of_other_commands_are_theirs(folder: Path) -> None:
    assert options(folder, "align", XPET_EVAL_SEED="3", XPET_TEST_THREADS="1")["seed"]["value"] == [1]


def test_a_configuration_file_that_is_none(folder: Path) -> None:
    (folder / "xpet.toml").mkdir()
    assert refused(folder, "align", "--show-config").startswith("xpet.toml: expected a configuration file, found none")
    (folder / "xpet.toml").rmdir()
    (folder / "pyproject.toml").write_bytes(b"[project]\nname = '\xff'\n")  # of another tool: not xpet's affair
    assert options(folder, "align")
    (folder / "pyproject.toml").write_text("[tool]\nxpet = 3\n")
    assert refused(folder, "align", "--show-config") == "pyproject.toml [tool.xpet]: expected a table, found 3"
    (folder / "pyproject.toml").write_text("[project]\nname = 'mine'\n")
    problem = refused(folder, "align", "--show-config", "--config", "pyproject.toml")
    assert problem == "--config pyproject.toml: expected a table [tool.xpet], found none"


def test_options_that_stand_in_place_of_each_other(folder: Path) -> None:
    assert refused(folder, "align", "--steps", "3", "--epochs", "2").endswith("expected one of them, found both")
    prompt = ("--method", "soft-prompt", "--tokens", "3", "--prompt", "a picture of")
    assert refused(folder, "align", *prompt).endswith("expected one of them, found both")
