"""`xpet merge` on the command line, in this process: what is said, and that `xpet eval --model` takes the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.jobs.conftest import World, cache, world  # noqa: F401
from xpet.cli import app
from xpet.core.config.kinds import byte_count
from xpet.core.errors import ConfigError
from xpet.jobs.align import run as align


def xpet(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = app._run(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def test_merge_then_eval(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    run, out = tmp_path / "run", tmp_path / "tower"
    align.run(world.config(run, "de"))
    capsys.readouterr()
    code, text, errors = xpet(capsys, "merge", str(run), "-o", str(out), "--device", "cpu", "--shard-size", "60KB")
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[0].startswith(f"Folded lora for de into {world.text}: ")
    assert lines[1].startswith("Verified on 72 captions: unit features differ by at most ")
    assert "No image tower is known: `xpet eval` needs --image-model or --image-features with it." in lines
    assert lines[-2:] == [f"Written: {out}", f"Use it: xpet eval --model {out}"]
    code, text, errors = xpet(
        capsys, "merge", str(run), "-o", str(out), "--overwrite", "--pytorch-bin", "--dtype", "bf16", "--no-verify",
        "--json",
    )  # fmt: skip
    assert (code, errors) == (0, "")
    document = json.loads(text)
    assert (document["command"], document["schema"], document["verification"]) == ("merge", 1, None)
    assert set(document["files"]) == {p.name for p in out.iterdir()}
    assert "pytorch_model.bin" in document["files"]
    code, text, errors = xpet(
        capsys, "eval", "--model", str(out), "--data", "table", "--data-root", str(world.table), "--image-features",
        str(world.features), "--resamples", "0", "--device", "cpu", "--json",
    )  # fmt: skip
    assert (code, errors) == (0, "")
    assert set(json.loads(text)["systems"][0]["languages"]) == {"en", "de", "tr"}


def test_combining_on_the_command_line(
    world: World,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two languages of one sweep, with equal weights that are not lost as repetitions."""
    align.run(world.config(tmp_path / "runs", "de", "tr", routines=("routine1",)))
    capsys.readouterr()
    arguments = ("merge", str(tmp_path / "runs"), "-o", str(tmp_path / "out"), "--device", "cpu", "--strategy", "ties")
    code, text, errors = xpet(capsys, *arguments, "--weights", "0.5,0.5", "--density", "0.3", "--search", "2")
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[0] == "Combined 2 languages by ties, density 0.3, rank 64."
    assert lines[1].startswith("Weights chosen among 2 combinations by mean R@1 of all languages, English included, on")
    assert lines[2] == "R@1 on the test split: each language by its own module, and by all combined"
    assert lines[4].split() == ["lang", "weight", "base", "separate", "combined", "price"]
    assert [line.split()[0] for line in lines[6:12]] == ["de", "tr", "en", "mean", "range", "std"]
    assert [line.split()[1] for line in lines[6:9]][2] == "-"
    assert any(line.startswith("Folded lora for de, tr into ") for line in lines)
    code, text, errors = xpet(capsys, *arguments, "--overwrite", "--json", "--no-verify")
    assert (code, errors) == (0, "")
    found = json.loads(text)["combination"]
    assert (found["strategy"], found["weights"]) == ("ties", {"de": 0.5, "tr": 0.5})
    assert (found["density"], found["rank"], found["seed"], found["languages"]) == (0.2, 64, 1, {})
    code, text, errors = xpet(capsys, *arguments, "--overwrite", "--no-verify")
    assert "Weights: de 0.5, tr 0.5. Not measured: nobody knows what combining cost." in text.splitlines()


def test_export(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    run, out = tmp_path / "run", tmp_path / "adapter"
    align.run(world.config(run, "de"))
    capsys.readouterr()
    code, text, errors = xpet(capsys, "merge", str(run), "-o", str(out), "--export", "peft", "--device", "cpu")
    assert (code, errors) == (0, "")
    lines = text.splitlines()
    assert lines[0].startswith(f"Exported lora for de of {world.text}: 3 files, ")
    assert lines[-2:] == [
        f"Written: {out}",
        f"Load it with: peft.PeftModel.from_pretrained(tower, '{out}'), tower = the base's text tower",
    ]
    code, text, errors = xpet(capsys, "merge", str(run), "-o", str(tmp_path / "x"), "--export", "onxx")
    assert (code, text) == (2, "")
    assert errors == (
        "xpet: error: unknown form 'onxx': expected one of checkpoint, peft, opendelta, onnx, sentence-transformers; "
        "did you mean 'onnx'?\n"
    )


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for arguments, words in (
        (["merge"], "Missing argument 'RUN...'."),
        (["merge", "nowhere"], "expected --out FOLDER or --pack FILE, found neither"),
        (
            ["merge", "nowhere", "--pack", "p", "--dtype", "fp16"],
            "--pack: expected no options of a checkpoint, found --dtype",
        ),
        (["merge", "nowhere", "-o", out, "--pack", "p"], "expected --out FOLDER or --pack FILE, found both"),
        (["merge", "nowhere", "-o", out], "expected a run folder, found no folder nowhere"),
        (["merge", "nowhere", "-o", out, "--dtype", "int8"], "unknown dtype 'int8': expected one of fp32, fp16, bf16"),
        (["merge", "nowhere", "-o", out, "--shard-size", "big"], "--shard-size: expected a size such as 2GB, 500MB"),
        (
            ["merge", "nowhere", "-o", out, "--weights", "1,1", "--rank", "4"],
            "--weights, --rank: expected with --strategy, found none",
        ),
        (
            ["merge", "nowhere", "-o", out, "--strategy", "linear", "--weights", "1,x"],
            "--weights: expected numbers separated by commas, found '1,x'",
        ),
        (
            ["merge", "nowhere", "-o", out, "--strategy", "slerp"],
            "unknown strategy 'slerp': expected one of linear, ties, dare, svd",
        ),
    ):
        code, text, errors = xpet(capsys, *arguments)
        assert (code, text, errors.count("\n")) == (2, "", 1)
        assert errors.startswith("xpet: error: ")
        assert words in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500mb", 5 * 10**8), ("1GiB", 2**30), ("1.5 KB", 1500), ("7B", 7), ("4096", 4096)],
)
def test_sizes(text: str, size: int) -> None:
    assert byte_count("--shard-size", text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1iB", "1e9", "2 GBs", "nan"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        byte_count("--shard-size", text)
    assert str(error.value) == f"--shard-size: expected a size such as 2GB, 500MB or 1GiB, found '{text}'"
