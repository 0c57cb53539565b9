"""Language packs: what they hold, everything that takes them, mixed batches, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import xpet
from tests.jobs.conftest import World
from xpet.cli import app
from xpet.core import language_pack
from xpet.core.config import FitConfig, MergeConfig, MethodConfig
from xpet.core.errors import ConfigError, DataError, ModelError, OutputError, XpetError
from xpet.core.files import write_file
from xpet.core.run_record import DOCUMENTS, documents_of
from xpet.core.rundir import read_run
from xpet.jobs.align import run as align
from xpet.jobs.eval import run as evaluate
from xpet.jobs.merge import pack
from xpet.jobs.merge import run as merge
from xpet.jobs.results.merge import PackResult
from xpet.methods.build import build_stack
from xpet.models.checkpoint import load_text_tower

Tree = Callable[[Path], dict[str, bytes]]
FIT = FitConfig(batch_size=6, steps=6, validate_every=3, device="cpu", include_start=False)
TEXTS = {"de": ["ein roter Hund", "zwei Katzen"], "tr": ["kırmızı bir köpek", "iki kedi"], "en": ["a red dog"]}
ALL_METHODS = ("lora", "adapter", "compacter", "soft-prompt", "bitfit", "full", "embeddings", "linear-map")


def method_of(name: str) -> dict[str, Any]:
    return {"method": name} if name != "embeddings" else {"method": "lora"}


@pytest.fixture(scope="session")
def sweeps(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep of German and Turkish by every method; `embeddings` is LoRA with an embedding delta."""
    folder = tmp_path_factory.mktemp("packed")
    for name in ALL_METHODS:
        config = world.config(folder / name, "de", fit=FIT, learning_rates=(1e-2,), **method_of(name))
        train = ("layernorm", "embeddings") if name == "embeddings" else config.method.train
        rank = 4 if name == "embeddings" else config.method.embedding_rank
        method = replace(config.method, train=train, embedding_rank=rank)
        align.run(replace(config, languages=("de", "tr"), method=method))
    return folder


def packed(source: Path | str, out: Path, **changes: Any) -> PackResult:
    return pack.run(MergeConfig((str(source),), str(out), **changes))


@pytest.mark.parametrize("method", ALL_METHODS)
def test_a_pack_holds_what_the_runs_hold(method: str, world: World, sweeps: Path, tmp_path: Path, tree: Tree) -> None:
    before = tree(sweeps)
    out = tmp_path / "all.xpet"
    result = packed(sweeps / method, out)
    assert [one.language for one in result.languages] == ["de", "tr"]
    assert {p.name for p in tmp_path.iterdir()} == {"all.xpet"}
    assert tree(sweeps) == before
    assert result.size == out.stat().st_size
    json.dumps(result.to_dict(), allow_nan=False)
    for one, kept in zip(result.languages, language_pack.read_pack(out), strict=True):
        record = read_run(Path(one.run))
        assert kept.name == one.language
        assert {n: v.tolist() for n, v in kept.record.delta.items()} == {n: v.tolist() for n, v in record.delta.items()}
        assert replace(kept.record, delta={}) == replace(record, delta={})
        assert documents_of(kept.record) == documents_of(record)
    of_folder = evaluate.run(world.evaluation(str(sweeps / method)))
    of_pack = evaluate.run(world.evaluation(str(out)))
    figures = [
        {lang: found.mean.r1.value for lang, found in report.systems[-1].languages.items()}  # type: ignore[union-attr]
        for report in (of_folder, of_pack)
    ]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("method", ALL_METHODS)
def test_mixed_batches_equal_one_by_one(method: str, sweeps: Path, tmp_path: Path) -> None:
    packed(sweeps / method, tmp_path / "all.xpet")
    model = xpet.load(tmp_path / "all.xpet", device="cpu")
    assert (model.languages, model.default_lang) == (("de", "tr"), None)
    texts = [(text, lang) for lang, own in TEXTS.items() for text in own]
    mixed = [texts[i] for i in (0, 2, 4, 3, 1, 0, 2)]
    mixed += [(text, "tr") for text, _ in mixed]  # the same texts through another module
    together = model.encode_text([text for text, _ in mixed], lang=[lang for _, lang in mixed], normalize=False)
    alone = torch.cat([model.encode_text([text], lang=lang, normalize=False) for text, lang in mixed])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    differ = model.encode_text(["ein roter Hund"] * 3, lang=["de", "tr", None], normalize=False)
    assert min(float((differ[i] - differ[j]).abs().max()) for i, j in ((0, 1), (0, 2), (1, 2))) > 1e-3


def test_a_mixed_batch_takes_one_forward(sweeps: Path, tmp_path: Path) -> None:
    packed(sweeps / "lora", tmp_path / "all.xpet")
    model = xpet.load(tmp_path / "all.xpet", device="cpu")
    forwards: list[int] = []
    model._tower.register_forward_hook(lambda module, inputs, output: forwards.append(len(output)))
    model.encode_text(["ein Hund", "bir köpek", "eine Katze"], lang=["de", "tr", "de"])
    assert forwards == [3]
    model.encode_text(["ein Hund", "bir köpek", "a dog"], lang=["de", "tr", "en"])
    assert forwards == [3, 2, 1]  # a text without a module goes through the base


def test_rows_of_their_own_equal_runs_of_their_own_in_float64(sweeps: Path, world: World) -> None:
    """The stack's two ways to select runs, in double precision."""
    for name in ("lora", "adapter", "compacter", "embeddings"):
        records = [read_run(path) for path in sorted((sweeps / name).glob("*/"))]
        loaded = load_text_tower(world.text, torch.float64)
        stack = build_stack(loaded.tower, records[0].method, [1, 1])
        for place, record in enumerate(records):
            stack.load(place, record.delta)
        ids, mask = loaded.tokenizer.pad(loaded.tokenizer.encode(["ein Hund", "bir köpek kırmızı", "zwei Katzen"]))
        order = [1, 0, 1]
        with torch.no_grad():
            with stack.each(order):
                mixed = stack(ids, mask)
            rows = []
            for row, run in enumerate(order):
                with stack.one(run):
                    rows.append(stack(ids[row : row + 1], mask[row : row + 1]))
        torch.testing.assert_close(mixed, torch.cat(rows), atol=1e-10, rtol=0)


def test_training_goes_on_from_a_pack(world: World, sweeps: Path, tmp_path: Path) -> None:
    packed(sweeps / "lora", tmp_path / "all.xpet")
    fit = FitConfig(batch_size=6, steps=1, validate_every=1, device="cpu", include_start=True)
    config = world.config(tmp_path / "next", "tr", fit=fit, learning_rates=(1e-9,))
    result = align.run(replace(config, start=str(tmp_path / "all.xpet"), method=MethodConfig()))
    record = next(run.record for run in language_pack.read_pack(tmp_path / "all.xpet") if run.name == "tr")
    assert result.runs[0].aligned == record.metrics.aligned
    went_on = read_run(tmp_path / "next").delta
    assert max(float((went_on[name] - record.delta[name]).abs().max()) for name in went_on) < 1e-7
    with pytest.raises(ConfigError, match=r"expected runs for en, found only de, tr|unknown language|pivot"):
        align.run(replace(config, languages=("en",), start=str(tmp_path / "all.xpet"), out=str(tmp_path / "no")))


def test_what_is_refused(world: World, sweeps: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.xpet"
    packed(sweeps / "lora", out)
    first = out.read_bytes()
    with pytest.raises(OutputError, match=r"all\.xpet exists already; choose another --pack or pass --overwrite"):
        packed(sweeps / "lora", out)
    packed(sweeps / "lora", out, overwrite=True)
    assert out.read_bytes() == first
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="exists and is no language pack; it is not overwritten"):
        packed(sweeps / "lora", tmp_path / "notes.txt", overwrite=True)
    with pytest.raises(DataError, match="differ in method: evaluate them one at a time"):
        pack.run(MergeConfig((str(sweeps / "lora"), str(sweeps / "adapter")), str(tmp_path / "mixed.xpet")))
    with pytest.raises(OutputError, match=r"expected another ending than \.json, which `xpet eval` takes for a result"):
        packed(sweeps / "lora", tmp_path / "all.json")
    packed(sweeps / "lora", tmp_path / "all.bin")
    assert xpet.load(tmp_path / "all.bin", device="cpu").languages == ("de", "tr")
    (tmp_path / "all.bin").unlink()
    with pytest.raises(OutputError, match="is not a writable folder"):
        packed(sweeps / "lora", tmp_path / "no" / "all.xpet")
    assert {p.name for p in tmp_path.iterdir()} == {"all.xpet", "notes.txt"}
    for source in (tmp_path / "notes.txt",):
        with pytest.raises(
            DataError, match="expected a run folder or a language pack of `xpet merge --pack`, found an"
        ):
            evaluate.run(world.evaluation(str(source)))


@pytest.mark.parametrize("harm", ["cut", "document", "newer", "tensor"])
def test_a_damaged_pack(harm: str, world: World, sweeps: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.xpet"
    packed(sweeps / "lora", out)
    with safe_open(out, "pt") as file:  # type: ignore[no-untyped-call]
        document = json.loads(file.metadata()[language_pack.KEY])
    tensors = load_file(out)
    if harm == "cut":
        out.write_bytes(out.read_bytes()[:-10])
    elif harm == "document":
        save_file(tensors, out, metadata={language_pack.KEY: json.dumps({"schema": 1, "runs": [{}]})})
    elif harm == "newer":
        save_file(tensors, out, metadata={language_pack.KEY: json.dumps({**document, "schema": 2})})
    else:
        save_file(
            {n: v for n, v in tensors.items() if n.startswith("0/")},
            out,
            metadata={language_pack.KEY: json.dumps(document)},
        )
    with pytest.raises(XpetError) as error:
        evaluate.run(world.evaluation(str(out)))
    assert isinstance(error.value, DataError)
    words = "expected a pack of schema 1, found 2; update xpet" if harm == "newer" else "found a damaged one"
    assert words in str(error.value)


def test_one_language_of_a_pack(world: World, sweeps: Path, tmp_path: Path) -> None:
    packed(sweeps / "lora", tmp_path / "all.xpet")
    result = merge.run(MergeConfig((str(tmp_path / "all.xpet" / "tr"),), str(tmp_path / "tower"), device="cpu"))
    assert result.languages == ("tr",)
    report = evaluate.run(world.evaluation(str(tmp_path / "all.xpet" / "de")))
    assert report.systems[-1].aligned == ("de",)  # type: ignore[union-attr]
    with pytest.raises(DataError, match=r"all\.xpet: expected one of de, tr, found pl"):
        evaluate.run(world.evaluation(str(tmp_path / "all.xpet" / "pl")))


def test_weights_that_are_not_finite(sweeps: Path, tmp_path: Path) -> None:
    import shutil

    copy = Path(shutil.copytree(sweeps / "lora", tmp_path / "runs"))
    run = sorted(copy.glob("*/"))[0]
    delta = load_file(run / "delta.safetensors")
    name = next(iter(delta))
    delta[name] = delta[name] * float("nan")
    save_file(delta, run / "delta.safetensors")
    with pytest.raises(ModelError, match="expected finite weights, found NaN or infinity in "):
        packed(copy, tmp_path / "all.xpet")
    assert not (tmp_path / "all.xpet").exists()


def test_a_pack_with_weights_that_are_not_finite(sweeps: Path, world: World, tmp_path: Path) -> None:
    """Not one of ours: `merge` refuses to make it."""
    packed(sweeps / "lora", tmp_path / "all.xpet")
    german, turkish = language_pack.read_pack(tmp_path / "all.xpet")
    delta = dict(turkish.record.delta)
    name = min(delta)
    delta[name] = delta[name] + float("inf")
    bad = replace(turkish, record=replace(turkish.record, delta=delta))
    write_file(tmp_path / "bad.xpet", language_pack.pack_bytes([german, bad]))
    with pytest.raises(ModelError) as error:
        evaluate.run(world.evaluation(tmp_path / "bad.xpet"))
    assert str(error.value) == (
        f"{tmp_path}/bad.xpet/tr: expected finite weights, found NaN or infinity in {name}; train the run again and "
        "make the pack of it"
    )


@pytest.mark.parametrize(
    ("runs", "words"), [([], "it holds no run"), ([{"name": [1], "delta": 0}], r"a name that is no text: \[1\]")]
)
def test_a_pack_without_runs_or_names(runs: list[Any], words: str, tmp_path: Path) -> None:
    document = json.dumps({"schema": 1, "runs": runs, "shared": []})
    save_file({"0/x": torch.ones(1)}, tmp_path / "a.xpet", metadata={language_pack.KEY: document})
    with pytest.raises(DataError, match=rf"found a damaged one \({words}\); make it again"):
        language_pack.read_pack(tmp_path / "a.xpet")


@pytest.mark.parametrize("part", sorted({*DOCUMENTS} - {"history"}))  # which nothing reads
def test_a_pack_of_which_a_document_is_text(part: str, sweeps: Path, world: World, tmp_path: Path) -> None:
    packed(sweeps / "lora", tmp_path / "all.xpet")
    with safe_open(tmp_path / "all.xpet", "pt") as file:  # type: ignore[no-untyped-call]
        document = json.loads(file.metadata()[language_pack.KEY])
    document["shared"].append("a")
    document["runs"][1][part] = len(document["shared"]) - 1
    save_file(
        load_file(tmp_path / "all.xpet"), tmp_path / "bad.xpet", metadata={language_pack.KEY: json.dumps(document)}
    )
    with pytest.raises(DataError, match=rf"bad\.xpet/tr/{part}\.json: expected an object.*, found 'a'; "):
        evaluate.run(world.evaluation(tmp_path / "bad.xpet"))


def test_on_the_command_line(sweeps: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "all.xpet"
    assert app._run(["merge", str(sweeps / "lora"), "--pack", str(out)]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0].startswith("Packed lora for 2 languages: ")
    assert f"The base is not in it: {world.text}" in lines
    assert lines[-1] == f"Use it: xpet eval {out}, or xpet.load('{out}') in Python"
    assert app._run(["merge", str(sweeps / "lora"), "--pack", str(out), "--overwrite", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["language"] for one in document["languages"]] == ["de", "tr"]
