"""Options are fields: one edit adds one, and what belongs to something else than what was chosen is an error."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.command import run_here
from xpet.cli import align
from xpet.cli import app as cli
from xpet.cli.settings import Request
from xpet.cli.switches import AlignSwitches, Switches
from xpet.core.config import AlignConfig, EvalConfig, MergeConfig, MethodConfig, TextConfig
from xpet.core.config import options as o
from xpet.core.errors import ConfigError
from xpet.core.presets import Preset


@dataclass(frozen=True)
class Longer(AlignConfig):
    """The configuration of `xpet align` with one more field: the one edit that an option takes."""

    patience: tuple[int, ...] = o.option(
        (5,), "--patience -p", "Validations without a better one", o.OPTIMISATION, choices=("5", "50"), common=True
    )


COMMAND = replace(
    align.COMMAND, kinds=(Longer, AlignSwitches, Switches), build=lambda values, base: o.made(Longer, values, base),
    check=lambda config: None,
)  # fmt: skip


def asked(*words: str) -> Request:
    """What the extended command hands to what it runs."""
    seen: list[Request] = []
    here = typer.Typer(add_completion=False, rich_markup_mode=None)
    cli.offer(COMMAND, seen.append, here)
    here([*words], standalone_mode=False)
    (request,) = seen
    return request


def test_one_field_is_a_whole_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert asked().config.patience == (5,)
    assert asked("-p", "3,4").config.patience == asked("--patience", "3,4,3").config.patience == (3, 4)
    (tmp_path / "xpet.toml").write_text("[align]\npatience = [7, 8]\n")
    assert asked().config.patience == (7, 8)
    monkeypatch.setenv("XPET_ALIGN_PATIENCE", "9")
    assert asked().config.patience == (9,)
    assert asked("--patience", "1").config == Longer(patience=(1,))
    with pytest.raises(ConfigError, match="--patience: expected whole numbers separated by commas, found 'long'"):
        asked("--patience", "long")
    capsys.readouterr()
    here = typer.Typer(add_completion=False, rich_markup_mode=None)
    cli.offer(COMMAND, lambda request: None, here)
    command: Any = typer.main.get_command(here)
    here(["--help"], standalone_mode=False)
    assert "  -p, --patience INT,...  Validations without a better one [default: 5]\n" in capsys.readouterr().out
    here(["--show-config"], standalone_mode=False)
    assert ["--patience", "9", "XPET_ALIGN_PATIENCE"] in map(str.split, capsys.readouterr().out.splitlines())
    with command.make_context("align", []) as context:
        (parameter,) = (each for each in command.params if each.name == "patience")
        assert [item.value for item in parameter.shell_complete(context, "1,5")] == ["1,5", "1,50"]


def test_every_option_has_a_section_that_its_command_shows() -> None:
    for command in cli.COMMANDS:
        for entry in command.entries.values():
            assert entry.option.section in command.sections, entry
            assert entry.help.strip() == entry.help != ""
        assert {s for s in command.sections} == {e.option.section for e in command.entries.values()}


@pytest.mark.parametrize("kind", [AlignConfig, EvalConfig, MergeConfig])
def test_a_configuration_is_the_values_of_its_options(kind: type) -> None:
    required = {"runs": ("run",), "out": "out"} if kind is MergeConfig else {}
    config = o.made(kind, required)
    assert config == kind(**required)
    assert o.made(kind, o.values_of(config, kind)) == config


def test_fields_that_are_no_options_are_few() -> None:
    owned = {entry.path[-1] for entry in o.options_of(AlignConfig)}
    inside = [field.default_factory for field in fields(AlignConfig) if inspect.isclass(field.default_factory)]
    every = {f.name for kind in (AlignConfig, *inside) for f in fields(kind)}  # type: ignore[arg-type]
    groups = {"model", "data", "fit", "method"}  # `text` is a group and the text tower
    assert every - owned - groups == {"most_steps", "latest_tie_wins", "include_start"}
    assert {f.name for f in fields(Preset)} <= every


@pytest.mark.parametrize(("words", "problem"), [
    (["--bottleneck", "8", "--method", "lora"],
     "--bottleneck: expected with --method adapter, found --method lora; leave out or choose --method adapter"),
    (["--bottleneck", "24"], "--bottleneck: expected with --method adapter, found --method lora"),
    (["--method", "full", "--modules", "query", "--rank", "4"],
     "--rank: expected with --method lora, found --method full; leave out or choose --method lora; --modules: expected "
     "with --method lora or adapter or compacter or bitfit, found --method full"),
    (["--prompt", "ein Bild", "--method", "adapter"], "--prompt: expected with --method soft-prompt, found --method"),
    (["--n-best", "2", "--fast"], "--n-best, --fast: expected with --routine text, found --routine routine3"),
    (["--routine", "1,2", "--corpus", "x.txt"], "--corpus: expected with --routine text, found --routine 1,2"),
    (["--embedding-rank", "8"], "--embedding-rank: expected with --train embeddings, found none"),
    (["--embedding-rank", "8", "--train", "head"], "expected with --train embeddings, found --train head"),
])  # fmt: skip
def test_options_of_something_else(words: Sequence[str], problem: str, tmp_path: Path) -> None:
    done = run_here("align", *words, folder=tmp_path, environment={"XPET_CACHE": str(tmp_path / "cache")})
    text = done.stderr.decode()
    assert (done.returncode, done.stdout, text.count("\n")) == (2, b"", 1)
    assert problem in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [
    "--method adapter --bottleneck 8", "--routine text,1 --chain --n-best 2", "--routine text --noise 0.1",
    "--train embeddings --embedding-rank 8", "--from run --rank 4", "--method bitfit --modules query",
    "--method soft-prompt --tokens 8", "--routine 1,text --validate-on pictures", "--from run --embedding-rank 8",
])  # fmt: skip
def test_options_that_go_together(words: str, tmp_path: Path) -> None:
    done = run_here("align", *words.split(), "--show-config", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("config", "problem"), [
    (AlignConfig(method=MethodConfig("adapter", rank=4)), "--rank: expected with --method lora, found --method "),
    (AlignConfig(text=TextConfig(lines=4)), "--lines: expected with --routine text, found --routine routine3"),
    (AlignConfig(method=MethodConfig(embedding_rank=4)), "--embedding-rank: expected with --train embeddings, found "),
])  # fmt: skip
def test_in_python_alike(config: AlignConfig, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.check()
    assert str(error.value).startswith(problem)


def test_settings_at_their_defaults_belong_everywhere() -> None:
    AlignConfig(method=MethodConfig("adapter", rank=8, alpha=16.0), text=TextConfig(n_best=1)).check()
    AlignConfig(method=MethodConfig("adapter", bottleneck=8), start="run").check()


def test_whose_a_setting_is_stands_in_the_table_of_methods_too() -> None:
    from xpet.methods.table import METHODS

    owned: dict[str, set[str]] = {}
    for entry in o.options_of(AlignConfig):
        if entry.option.owner is not None and entry.option.owner.option == "method":
            for name in entry.option.owner.values:
                owned.setdefault(name, set()).add(entry.path[-1])
    for name, method in METHODS.items():
        assert owned.get(name, set()) == {*method.settings, *(["modules"] if method.modules else [])}, name
