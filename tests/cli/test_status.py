"""The command line of `xpet align --status`: its table, its document, what it refuses, and that it is quick."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command import run_here
from tests.jobs.align.test_align import interrupt_at
from tests.jobs.conftest import FIT, World, cache, world  # noqa: F401
from xpet.cli import view
from xpet.cli.status_view import lasting
from xpet.jobs.align import run as align


@pytest.fixture
def out(world: World, tmp_path: Path) -> Path:  # noqa: F811
    """A stopped sweep: a run that is finished, one that was in training, one that waits."""
    fit = replace(FIT, stack=1, workers=1)
    with pytest.raises(KeyboardInterrupt):
        align.run(world.config(tmp_path / "out", seeds=(1, 2, 3), fit=fit), interrupt_at("training", 2))
    return tmp_path / "out"


def test_a_table_and_what_to_do(out: Path) -> None:
    done = run_here("align", "--status", out)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert lines[0] == f"{out}: stopped"
    cells = {words[1]: words[2:4] for line in lines if (words := line.split()) and words[0] == "de"}
    assert cells == {"seed=1": ["finished", "4/4"], "seed=2": ["stopped", "4/4"], "seed=3": ["waiting", "-"]}
    (told,) = (line for line in lines if line.startswith("3 runs: "))
    assert told.startswith("3 runs: 1 finished, 1 stopped, 1 waiting. Last sign of life ")
    assert "Time left once it goes on: about " in told
    assert f"Go on: xpet align --resume {out}" in lines


def test_a_document(out: Path) -> None:
    document = json.loads(run_here("align", "--status", out, "--json").stdout)
    assert set(document) == {"command", "schema", "folder", "status", "phases"}
    assert (document["command"], document["folder"], document["status"]) == ("align", str(out), "stopped")
    (phase,) = document["phases"]
    assert set(phase) == {"folder", "state", "runs", "age", "seconds_left", "next", "counts"}
    assert phase["counts"] == {"finished": 1, "stopped": 1, "waiting": 1}
    assert set(phase["runs"][0]) == {
        "label", "settings", "state", "step", "steps", "figures", "best_step", "best", "aligned", "age",
    }  # fmt: skip


def test_no_setting_of_a_training_belongs_to_it(out: Path, tmp_path: Path) -> None:
    done = run_here("align", "--status", out, "--lang", "de", "--dry-run")
    assert done.returncode == 2
    told = f"xpet: error: --status {out}: expected it without --dry-run and --lang, found both\n"
    assert done.stderr.decode() in (told, told.replace("--dry-run and --lang", "--lang and --dry-run"))
    (tmp_path / "xpet.toml").write_text("[align]\nbogus = 1\n")
    done = run_here("align", "--status", out, folder=tmp_path, environment={"XPET_ALIGN_LR": "x"})
    assert (done.returncode, done.stderr) == (0, b"")
    done = run_here("align", "--status", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.decode().startswith(
        f"xpet: error: --status {tmp_path / 'none'}: expected a folder of xpet align"
    )


def test_nothing_heavy_is_loaded(out: Path) -> None:
    code = (
        "import sys\nfrom xpet.cli.app import _run\n"
        "code = _run(['align', '--status', sys.argv[1], '--json'])\n"
        "assert code == 0, code\n"
        "print(sorted({'torch', 'numpy', 'transformers', 'accelerate', 'safetensors', 'rich'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(("seconds", "words"), [
    (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (61, "1 min 1 s"), (3599.7, "1 h"), (12_000, "3 h 20 min"),
    (90_000, "1 d 1 h"), (86_399, "23 h 59 min"),
])  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert lasting(seconds) == words
    assert lasting(seconds, 1) == " ".join(words.split()[:2])


@pytest.mark.parametrize("width", [200, 80])
def test_a_terminal_shows_every_state(width: int, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    shown = io.StringIO()
    console = Console(file=shown, width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr(view, "_console", lambda: console)
    run_here("align", "--status", out)
    for state in ("finished", "stopped", "waiting"):
        assert f" {state} " in shown.getvalue()
    assert " 4/4 " in shown.getvalue()
