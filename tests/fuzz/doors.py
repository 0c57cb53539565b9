"""Every reader of what people bring: a sound input each, and the walk that takes it as far as a command would."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests import tiny
from tests.jobs import conftest as small
from tests.translation import toy

ROWS = [row for row in small.rows_of(16) if row["lang"] in ("en", "de")]
LINES = [f"a {a} {b} on the {c}" for a in ("red", "blue") for b in ("dog", "cat", "man") for c in ("table", "man")]


@dataclass(frozen=True)
class Door:
    """One kind of input: `make` writes a sound one into a folder, `read` takes it in; `damaged` files are harmed."""

    name: str
    make: Callable[[Path], None]
    read: Callable[[Path], object]
    damaged: tuple[str, ...]


def _evaluated(folder: Path, *runs: str, **changes: Any) -> object:
    """What `xpet eval` does with runs, on the small table of this folder."""
    from xpet.core.config import DataConfig, EvalConfig, FitConfig, ModelConfig
    from xpet.jobs.eval import run as evaluate

    data = DataConfig("table", str(folder / "table.jsonl"), image_features=str(folder / "features.npy"))
    config = EvalConfig(
        tuple(str(folder / run) for run in runs), ("en", "de"), ModelConfig(str(folder / "text")), data,
        fit=FitConfig(device="cpu"), resamples=0,
    )  # fmt: skip
    return evaluate.run(replace(config, **changes))


def _world(folder: Path) -> None:
    """A tiny text tower, a table of 16 images and features for them."""
    import numpy

    tiny.tiny_text_checkpoint(folder / "text", seed=3)
    small.write_table(folder / "table.jsonl", ROWS)
    numpy.save(folder / "features.npy", numpy.random.default_rng(0).standard_normal((16, 32)).astype("float32"))


def _run(folder: Path, method: str = "lora", **settings: Any) -> None:
    from xpet.core.config import AlignConfig, DataConfig, FitConfig, MethodConfig, ModelConfig
    from xpet.jobs.align import run as align

    _world(folder)
    data = DataConfig("table", str(folder / "table.jsonl"), shots=4, image_features=str(folder / "features.npy"))
    fit = FitConfig(batch_size=4, steps=2, validate_every=1, device="cpu")
    align.run(AlignConfig(
        ("de",), ModelConfig(str(folder / "text")), data, MethodConfig(method, **settings), fit,
        routines=("routine1",), out=str(folder / "run"),
    ))  # fmt: skip


def _merged(folder: Path, form: str) -> None:
    from xpet.core.config import MergeConfig
    from xpet.jobs.merge import run as merge

    _run(folder)
    merge.run(MergeConfig((str(folder / "run"),), str(folder / "out"), form=form, verify=False, device="cpu"))


def _packed(folder: Path) -> None:
    from xpet.core.config import MergeConfig
    from xpet.jobs.merge import pack

    _run(folder)
    pack.run(MergeConfig((str(folder / "run"),), str(folder / "languages.xpet"), device="cpu"))


def _state(folder: Path) -> None:
    import typing

    import torch

    from xpet.core.rundir import read_run

    _run(folder)
    state: Any = typing.OrderedDict()  # as the paper's published code saves it
    state.update({name: value for name, value in read_run(folder / "run").delta.items()})
    torch.save(state, folder / "text_model_best.ckpt")


def _stored(folder: Path) -> None:
    _world(folder)
    report: Any = _evaluated(folder, groups=("script",), diagnose=True)
    (folder / "result.json").write_text(json.dumps(report.to_dict()), encoding="utf-8")


def _again(folder: Path) -> object:
    from xpet.cli.reports import FORMATS, render
    from xpet.cli.reports.look import Look
    from xpet.core.config import EvalConfig
    from xpet.jobs.eval import run as evaluate

    report: Any = evaluate.run(EvalConfig((str(folder / "result.json"),)))
    return [render(report, name, Look(full=True)) for name in FORMATS]


def _table(ending: str) -> Door:
    def make(folder: Path) -> None:
        path = folder / f"table.{ending}"
        names = ("image", "lang", "caption", "to_pivot", "from_pivot", "split")
        rows = [
            {**dict.fromkeys(names, ""), **row, "split": ("train", "val", "test")[i // 2 % 3]}
            for i, row in enumerate(ROWS)
        ]
        if ending == "jsonl":
            small.write_table(path, rows)
        elif ending == "parquet":
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            with path.open("w", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, names, delimiter="," if ending == "csv" else "\t", lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)

    return Door(
        f"table.{ending}", make, lambda folder: _corpus("table", folder / f"table.{ending}"), (f"table.{ending}",)
    )


def _corpus(name: str, root: Path, variant: str | None = None) -> object:
    from xpet.core.config import DataConfig
    from xpet.data.lint import lint
    from xpet.jobs.shared.corpus import cut, read_corpus

    config = DataConfig(name, str(root), variant, shots=2)
    corpus = read_corpus(config)
    return lint(corpus), cut(corpus, config)


def _xtd(folder: Path) -> None:
    images = [f"COCO_val2014_{number}.jpg" for number in range(8)]
    for name in ("XTD10", "translated_from_en", "translated_to_en"):
        (folder / name).mkdir()
    (folder / "XTD10/test_image_names.txt").write_text("\n".join(images))
    for language in ("en", "it"):
        text = "\n".join(f"{language} caption {number}" for number in range(8))
        (folder / f"XTD10/test_1kcaptions_{language}.txt").write_text(text)
        (folder / f"translated_from_en/{language}.txt").write_text(text + "\n")
        (folder / f"translated_to_en/{language}.txt").write_text(text + "\n")


def _multi30k(folder: Path) -> None:
    for name in ("raw", "image_splits", "translated_from_en"):
        (folder / name).mkdir()
    for stem, split in (("train", "train"), ("val", "val"), ("test_2016_flickr", "test_2016_flickr")):
        (folder / f"image_splits/{split}.txt").write_text("\n".join(f"{split}{n}.jpg" for n in range(6)) + "\n")
        for language in ("en", "de"):
            text = "\n".join(f"{language} {split} caption {n}" for n in range(6)) + "\n"
            (folder / f"raw/{stem}.{language}.gz").write_bytes(gzip.compress(text.encode()))
        (folder / f"translated_from_en/{stem}.de").write_text(text)


def _texts(ending: str) -> Door:
    name = f"corpus.{ending}"
    column = "text" if ending.split(".")[0] in ("csv", "tsv", "jsonl", "parquet") else None

    def make(folder: Path) -> None:
        lines = "\n".join(LINES) + "\n"
        if ending.startswith(("csv", "tsv")):
            mark = "," if ending.startswith("csv") else "\t"
            lines = f"id{mark}text\n" + "".join(f"{i}{mark}{line}\n" for i, line in enumerate(LINES))
        elif ending.startswith("jsonl"):
            lines = "".join(json.dumps({"id": i, "text": line}) + "\n" for i, line in enumerate(LINES))
        elif ending == "parquet":
            import pyarrow
            from pyarrow import parquet

            parquet.write_table(pyarrow.table({"text": LINES}), folder / name)
            return
        data = lines.encode()
        (folder / name).write_bytes(gzip.compress(data) if ending.endswith("gz") else data)

    def read(folder: Path) -> object:
        from xpet.data.text_corpus import read_texts

        return list(read_texts([str(folder / name)], column))

    return Door(name, make, read, (name,))


def _split_file(folder: Path) -> object:
    from xpet.core.config import DataConfig
    from xpet.jobs.shared.corpus import cut, read_corpus

    config = DataConfig("table", str(folder / "table.jsonl"), split_file=str(folder / "split.json"))
    return cut(read_corpus(config), config)


def _make_split(folder: Path) -> None:
    _world(folder)
    names = [f"{number:03d}.png" for number in range(16)]
    split = {"train": names[:4], "validation": names[4:8], "test": names[8:]}
    (folder / "split.json").write_text(json.dumps(split), encoding="utf-8")


def _features(ending: str) -> Door:
    def make(folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        _world(folder)
        if ending == "safetensors":
            save_file({"image_features": torch.randn(16, 32)}, folder / "features.safetensors")

    def read(folder: Path) -> object:
        from xpet.data.features import read_features

        return read_features(folder / f"features.{ending}", 16)

    return Door(f"features.{ending}", make, read, (f"features.{ending}",))


def _pictures(folder: Path) -> None:
    from PIL import Image

    tiny.tiny_image_checkpoint(folder / "image")
    for number, (mode, name) in enumerate((
        ("RGB", "a.png"), ("RGBA", "b.png"), ("P", "c.gif"), ("RGB", "d.jpg"), ("L", "e.tiff"), ("RGB", "f.webp"),
        ("I;16", "g.png"), ("RGB", "h.bmp"), ("CMYK", "i.jpg"), ("1", "j.ppm"),
    )):  # fmt: skip
        Image.new(mode, (40, 34), number * 5 if mode in ("L", "P", "1", "I;16") else None).save(folder / name)


def _encoded(folder: Path) -> object:
    from xpet.core.errors import DataError
    from xpet.data.images import FolderPictures
    from xpet.models.image_tower import load_image_tower

    tower, pictures, found = load_image_tower(folder / "image"), FolderPictures((folder,)), []
    for path in sorted(folder.iterdir()):
        if path.name != "image":
            try:
                found.append(tower.encode([pictures.open(path.name)]))
            except DataError:  # the others are looked at all the same
                continue
    return found


def _text_tower(weights: str, base: str = "xlm-roberta") -> Door:
    def make(folder: Path) -> None:
        tiny.tiny_text_checkpoint(folder / "text", base=base, weights=weights)

    def read(folder: Path) -> object:
        from xpet.models.checkpoint import load_text_tower
        from xpet.models.encode import encode_texts

        loaded = load_text_tower(folder / "text")
        return encode_texts(loaded.tower, loaded.tokenizer, ["a red dog", ""])

    return Door(f"text tower, {base}, {weights}", make, read, ("text/*",))


def _image_tower(folder: Path) -> object:
    from PIL import Image

    from xpet.models.image_tower import load_image_tower

    return load_image_tower(folder / "image").encode([Image.new("RGB", (40, 34)), Image.new("RGB", (9, 200))])


def _clip_text(folder: Path) -> object:
    from xpet.models.clip_text import load_english_tower
    from xpet.models.encode import encode_texts

    loaded = load_english_tower(folder / "clip")
    return encode_texts(loaded.tower, loaded.tokenizer, ["a red dog", ""])


def _documents(ending: str) -> Door:
    name = f"in.{ending}"

    def make(folder: Path) -> None:
        toy.unpack(folder / "packages", "translate-de_en-1_0", toy.files("de", "en", toy.GERMAN, folder / "scratch"))
        mark = {"csv": ",", "tsv": "\t"}.get(ending)
        lines = ["ein Hund", 'eine "rote" Katze', "", "12 😀", "der Mann\u2028steht"]
        if mark:
            body = f"id{mark}text{mark}other\n" + "".join(
                f"{i}{mark}{line.replace(chr(34), '')}{mark}x\n" for i, line in enumerate(lines)
            )
        elif ending == "jsonl":
            body = "".join(json.dumps({"id": i, "text": line, "n": 1.10}) + "\n" for i, line in enumerate(lines))
        else:
            body = "\n".join(lines) + "\n"
        (folder / name).write_text(body, encoding="utf-8")

    def read(folder: Path) -> object:
        from xpet.core.config import TranslateConfig
        from xpet.jobs.translate import run as translate

        column = None if ending == "txt" else "text"
        return translate.run(TranslateConfig(
            "de", "en", str(folder / name), str(folder / f"out.{ending}"), column, packages=str(folder / "packages"),
        ))  # fmt: skip

    return Door(f"translate.{ending}", make, read, (name,))


def _packages(folder: Path) -> object:
    from xpet.jobs.translate.packages import list_packages

    return list_packages(str(folder / "packages")), _documents("txt").read(folder)


def _archive(folder: Path) -> None:
    toy.archive(folder / "a.argosmodel", "translate-de_en-1_0", toy.files("de", "en", toy.GERMAN, folder / "scratch"))


def _installed(folder: Path) -> object:
    from xpet.translation.install import install

    return install([folder / "a.argosmodel"], folder / "installed")


def _translations(folder: Path) -> None:
    from xpet.core.config import DataConfig, TranslateDataConfig
    from xpet.jobs.translate import data_set as translate_data

    _documents("txt").make(folder)
    small.write_table(folder / "table.jsonl", [{k: v for k, v in row.items() if "pivot" not in k} for row in ROWS])
    data = DataConfig("table", str(folder / "table.jsonl"))
    translate_data.run(TranslateDataConfig(
        ("de",), data, "to-pivot", str(folder / "translations"), packages=str(folder / "packages"),
    ))  # fmt: skip


def _stored_translations(folder: Path) -> object:
    from xpet.core.config import DataConfig
    from xpet.jobs.shared.corpus import read_corpus
    from xpet.jobs.shared.translated_captions import with_stored

    corpus = read_corpus(DataConfig("table", str(folder / "table.jsonl")))
    return with_stored(corpus, ["de"], str(folder / "translations"))


def _references(folder: Path) -> object:
    from xpet.translation.scores import read_references

    return read_references(str(folder / "in.tsv"), "text"), read_references(str(folder / "in.jsonl"), "text")


def _make_references(folder: Path) -> None:
    for ending in ("tsv", "jsonl"):
        _documents(ending).make(folder)


def _cached(folder: Path) -> object:
    os.environ["XPET_CACHE"] = str(folder / "cache")  # in a process of its own
    return _documents("txt").read(folder)


def _make_cache(folder: Path) -> None:
    _documents("txt").make(folder)
    (folder / "in.txt").write_text("".join(f"ein Hund {number}\n" for number in range(200)), encoding="utf-8")
    _cached(folder)


def _chain(folder: Path) -> None:
    _run(folder)
    (folder / "sweep").mkdir()
    shutil.copytree(folder / "run", folder / "sweep/1-routine1")
    (folder / "sweep/chain.json").write_text('["1-routine1"]\n', encoding="utf-8")


def _settings(folder: Path) -> None:
    """A configuration file of every command, with values of every kind."""
    (folder / "xpet.toml").write_text(
        '[align]\nlang = ["de", "tr"]\nlr = [1e-3, 3e-4]\nshots = "all"\nroutine = [1, 2]\noverwrite = true\nseed = 3\n'
        '[eval]\nlang = "de"\nprompt = ["english", "a {}"]\nfail-if-drop = 1.5\nresamples = 0\n'
        '[merge]\nshard-size = "2GB"\nweights = [1, 2]\nstrategy = "linear"\nverify = false\n'
        '[translate]\nfrom = "de"\nto = "en"\nnoise = 0.5\n',
        encoding="utf-8",
    )


def _set(folder: Path) -> object:
    from xpet.cli.app import COMMANDS
    from xpet.cli.settings import read

    path = str(folder / "xpet.toml")
    typed = {"merge": {"runs": ["a"], "out": "b"}}
    names = [command.name for command in COMMANDS]
    return [read(command, names, {"config": path, **typed.get(command.name, {})}) for command in COMMANDS]


def _replayed(path: str, name: str) -> object:
    """What `--config` makes of a run or a result."""
    from xpet.cli.app import COMMANDS
    from xpet.cli.settings import read
    from xpet.cli.show_config import shown_config

    (command,) = (each for each in COMMANDS if each.name == name)
    return shown_config(read(command, [name], {"config": path})).to_dict()


DOORS = {door.name: door for door in (
    _table("csv"), _table("tsv"), _table("jsonl"), _table("parquet"),
    Door("xtd", _xtd, lambda folder: _corpus("xtd", folder), ("*/*",)),
    Door("multi30k", _multi30k, lambda folder: _corpus("multi30k", folder), ("*/*",)),
    _texts("txt"), _texts("txt.gz"), _texts("csv"), _texts("tsv"), _texts("jsonl"), _texts("parquet"),
    Door("split file", _make_split, _split_file, ("split.json",)),
    _features("npy"), _features("safetensors"),
    Door("pictures", _pictures, _encoded, ("*.*",)),
    _text_tower("safetensors"), _text_tower("bin"), _text_tower("safetensors", "bert"),
    Door("image tower", lambda folder: _made(tiny.tiny_image_checkpoint(folder / "image")), _image_tower, ("image/*",)),
    Door("CLIP text tower", lambda folder: _made(tiny.tiny_clip(folder / "clip")), _clip_text, ("clip/*",)),
    Door("run", _run, lambda folder: _evaluated(folder, "run"), ("run/*",)),
    Door("run with embeddings", lambda folder: _run(folder, train=("layernorm", "embeddings"), embedding_rank=2),
         lambda folder: _evaluated(folder, "run"), ("run/delta.safetensors", "run/config.json")),
    Door("chain", _chain, lambda folder: _evaluated(folder, "sweep"), ("sweep/chain.json",)),
    Door("pack", _packed, lambda folder: _evaluated(folder, "languages.xpet"), ("languages.xpet",)),
    Door("PEFT adapter", lambda folder: _merged(folder, "peft"), lambda folder: _evaluated(folder, "out"),
         ("out/adapter*",)),
    Door("OpenDelta folder", lambda folder: _merged(folder, "opendelta"), lambda folder: _evaluated(folder, "out"),
         ("out/config.json", "out/*.bin")),
    Door("state of a text tower", _state, lambda folder: _evaluated(folder, "text_model_best.ckpt"), ("*.ckpt",)),
    Door("configuration file", _settings, _set, ("xpet.toml",)),
    Door("configuration of a run", _run, lambda folder: _replayed(str(folder / "run"), "align"), ("run/config.json",)),
    Door("configuration of a result", _stored, lambda folder: _replayed(str(folder / "result.json"), "eval"),
         ("result.json",)),
    Door("result", _stored, _again, ("result.json",)),
    _documents("txt"), _documents("csv"), _documents("tsv"), _documents("jsonl"),
    Door("references", _make_references, _references, ("in.tsv", "in.jsonl")),
    Door("packages", _documents("txt").make, _packages, ("packages/*/*", "packages/*/*/*")),
    Door("package archive", _archive, _installed, ("a.argosmodel",)),
    Door("translation cache", _make_cache, _cached, ("cache/*",)),
    Door("translations", _translations, _stored_translations, ("translations/*",)),
)}  # fmt: skip


def _made(path: Path) -> None:
    assert path.is_dir()
