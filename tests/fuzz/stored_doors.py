"""The other doors: checkpoints in older layouts, and what xpet itself stored and reads again."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests import tiny
from tests.fuzz import doors
from tests.fuzz.doors import DOORS, Door


def _sentencepiece(folder: Path) -> None:
    """A text tower whose tokenizer is a sentencepiece model alone."""
    import sentencepiece

    tiny.tiny_text_checkpoint(folder / "text")
    (folder / "text/tokenizer.json").unlink()
    texts = iter([*doors.LINES, *"abcdefghijklmnopqrstuvwxyz"] * 20)
    with (folder / "text/sentencepiece.bpe.model").open("wb") as file:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=texts, model_writer=file, vocab_size=40, hard_vocab_limit=False, minloglevel=2
        )


def _tokenized(folder: Path) -> object:
    from xpet.models.tokenizer import load_tokenizer

    return load_tokenizer(folder / "text", 64, 1).encode(["a red dog", ""])


def _sharded(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tiny.tiny_text_checkpoint(folder / "text")
    path = folder / "text/model.safetensors"
    weights = load_file(path)
    path.unlink()
    files = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(sorted(weights))}
    for file in set(files.values()):
        save_file({name: weights[name] for name in weights if files[name] == file}, folder / "text" / file)
    index = {"metadata": {"total_size": 1}, "weight_map": files}
    (folder / "text/model.safetensors.index.json").write_text(json.dumps(index))


def _old_tokenizer(folder: Path) -> None:
    """A CLIP whose tokenizer is vocab.json and merges.txt, as older checkpoints have it."""
    tiny.tiny_clip(folder / "clip")
    (folder / "clip/tokenizer.json").unlink(missing_ok=True)
    letters = [chr(code) for code in range(97, 123)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "re", "red</w>"]
    pieces += [*(f"unused{number}" for number in range(516 - len(pieces))), "<|startoftext|>", "<|endoftext|>"]
    (folder / "clip/vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    (folder / "clip/merges.txt").write_text("#version: 0.2\nr e\nre d</w>\n")


def _features_store(folder: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.new("RGB", (8, 8), (number * 40, 0, 0)).save(folder / f"{number}.png")
    _featured(folder)


def _featured(folder: Path) -> object:
    import torch

    from xpet.data.features import image_features
    from xpet.data.images import FolderPictures

    names = [f"{number}.png" for number in range(3)]
    return image_features(
        names, FolderPictures((folder,)), lambda pictures: torch.ones(len(pictures), 4), "key", folder / "store"
    )


def _pairs(folder: Path) -> None:
    import torch

    from xpet.data.pairs import PairStore

    with PairStore(folder / "pairs", "key", 3) as store:
        for number in range(3):
            store.append([[1, 2, number], [], [7]], torch.ones(3, 3) * number, 4 * number, {"seen": number})


def _paired(folder: Path) -> object:
    from xpet.data.pair_files import map_pairs, read_state
    from xpet.data.pairs import PairStore

    pairs = map_pairs(folder / "pairs", read_state(folder / "pairs"))
    found = list(pairs.tokens), pairs.features[:].sum(), pairs.tokens.distinct(1)
    with PairStore(folder / "pairs", "key", 3) as store:
        return found, store.consumed, list(store.tokens)


def _stopped(folder: Path) -> None:
    """What a sweep that was stopped leaves: its plan, and histories that grow."""
    from xpet.core.config import AlignConfig, DataConfig, FitConfig, ModelConfig, to_dict

    doors._world(folder)
    data = DataConfig("table", str(folder / "table.jsonl"), shots=4, image_features=str(folder / "features.npy"))
    plan = AlignConfig(
        ("de",), ModelConfig(str(folder / "text")), data, fit=FitConfig(batch_size=4, steps=2, device="cpu"),
        routines=("routine1",), seeds=(1, 2), out=str(folder / "sweep"),
    ).check()  # fmt: skip
    unfinished = folder / "sweep.unfinished"
    (unfinished / "histories").mkdir(parents=True)
    document = {"schema": 1, "config": to_dict(plan), "replaces": False}
    (unfinished / "sweep.json").write_text(json.dumps(document))
    entry = {"step": 1, "steps": 2, "time": 1.0, "val_r1": 1.0, "val_mrr": 1.0, "val_loss": 1.0}
    for run in plan.runs():
        (unfinished / "histories" / f"{run.label}.jsonl").write_text(json.dumps(entry) + "\n")


def _watched(folder: Path) -> object:
    from xpet.cli.app import COMMANDS
    from xpet.cli.settings import read
    from xpet.jobs.align.status import status

    (command,) = (each for each in COMMANDS if each.name == "align")
    told = status(folder / "sweep")
    return told.to_dict(), read(command, ["align"], {"resume": str(folder / "sweep")}).config


def _checkpoint(folder: Path) -> None:
    import torch

    from xpet.training.checkpoint import Checkpoint, RunState, write_checkpoint

    run = RunState("de-routine1", 0, "ab12", 2, 0.5, ({"step": 1, "val_mrr": 1.0},), None, True, 2.5)
    state = {"parameters.a": torch.ones(2, 3), "counts": torch.arange(4)}
    write_checkpoint(folder / "stack.safetensors", Checkpoint("cd34", 2, 4, (run, run), state))


def _gone_on(folder: Path) -> object:
    """A checkpoint as it is, and as one with these contents whose checksum is right."""
    from safetensors.torch import load_file, save_file

    from xpet.core.errors import DataError
    from xpet.core.tensors import read_metadata
    from xpet.training import checkpoint

    path = folder / "stack.safetensors"
    try:
        return checkpoint.read_checkpoint(path)
    except DataError:
        try:
            tensors, metadata = load_file(path), read_metadata(path)
            metadata[checkpoint.CHECKSUM] = checkpoint._checksum(metadata[checkpoint.DOCUMENT], tensors)
        except Exception:  # as it is it tells nothing else
            raise DataError("damaged") from None
        save_file(tensors, path, metadata)
        return checkpoint.read_checkpoint(path)


def _index(folder: Path) -> None:
    entries = [
        {"type": "translate", "from_code": a, "to_code": b, "package_version": "1.9", "links": [f"https://x.y/{a}_{b}"]}
        for a, b in (("de", "en"), ("en", "de"), ("tr", "en"))
    ]
    (folder / "index.json").write_text(json.dumps([*entries, {"type": "sbd"}]))


def _offered(folder: Path) -> object:
    from xpet.translation import index

    path = folder / "index.json"
    content = path.read_bytes() if path.is_file() else b""
    index._fetch = lambda *_: iter([content])  # type: ignore[assignment]  # in a process of its own
    offers = index.read_index("https://x.y/index.json")
    return [index.find_offer(offers, offer.source, offer.target).file for offer in offers]


def _project(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[project]\nname = "a"\n[tool.xpet.align]\nlang = ["de"]\nlr = [1e-3]\n')


def _from_project(folder: Path) -> object:
    from xpet.cli.config_file import table_for

    os.chdir(folder)
    return table_for("align", ["align", "eval"], None)


def _loaded(folder: Path) -> object:
    import xpet

    return xpet.load(folder / "run", model=str(folder / "text"), device="cpu").encode_text(["ein Hund"], lang="de")


def _gz(name: str) -> Door:
    """The table of another door, packed."""
    import gzip

    plain = DOORS[name]

    def make(folder: Path) -> None:
        plain.make(folder)
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()

    return Door(f"{name}.gz", make, lambda folder: doors._corpus("table", folder / f"{name}.gz"), (f"{name}.gz",))


def _lists(folder: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    texts = [doors.LINES[:2], doors.LINES[2:5], [], doors.LINES[5:]]
    parquet.write_table(pyarrow.table({"text": texts}), folder / "lists.parquet")


def _listed(folder: Path) -> object:
    from xpet.data.text_corpus import read_texts

    return list(read_texts([str(folder / "lists.parquet")], "text"))


ALL_DOORS: dict[str, Door] = {**DOORS, **{door.name: door for door in (
    _gz("table.csv"), _gz("table.jsonl"), doors._texts("txt.bz2"), doors._texts("jsonl.gz"),
    Door("lists in Parquet", _lists, _listed, ("lists.parquet",)),
    Door("sentencepiece", _sentencepiece, _tokenized, ("text/sentencepiece*",)),
    Door("tokenizer", lambda folder: doors._made(tiny.tiny_text_checkpoint(folder / "text")), _tokenized,
         ("text/tokenizer.json",)),
    Door("shards", _sharded, doors._text_tower("safetensors").read, ("text/*.index.json", "text/model-*")),
    Door("older tokenizer of CLIP", _old_tokenizer, doors._clip_text, ("clip/vocab.json", "clip/merges.txt")),
    Door("image-feature store", _features_store, _featured, ("store/*/*",)),
    Door("pair store", _pairs, _paired, ("pairs/*.bin", "pairs/pairs.json")),
    Door("run to encode with", doors._run, _loaded, ("run/*",)),
    Door("checkpoint of a stack", _checkpoint, _gone_on, ("stack.safetensors",)),
    Door("stopped sweep", _stopped, _watched, ("sweep.unfinished/sweep.json", "sweep.unfinished/histories/*")),
    Door("package index", _index, _offered, ("index.json",)),
    Door("pyproject.toml", _project, _from_project, ("pyproject.toml",)),
)}}  # fmt: skip
"""Every door, by its name."""
