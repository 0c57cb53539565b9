"""`xpet.load`: the same features as `xpet eval`, modules by language, pictures, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import xpet
from tests.jobs.conftest import FIT, SHOTS, World, rows_of, write_table
from tests.rounding import alike
from tests.tiny import tiny_image_checkpoint, tiny_text_checkpoint
from xpet.core.config import DataConfig, EvalConfig, FitConfig, MethodConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError
from xpet.core.events import ignore
from xpet.jobs.align import run as align
from xpet.jobs.eval import prepare as eval_setup
from xpet.jobs.shared.run_records import chosen_runs, read_runs

CODE = "expected a language code such as 'tr' or one of the modules de"
TEXTS = ("a two red dog", "ein roter Hund", "bir kızıl köpek", "the", "ein roter Hund", "und " * 30)


@dataclass(frozen=True)
class Album:
    """A world with pictures: towers, a table beside its pictures, one run of German and a sweep of two languages."""

    text: Path
    image: Path
    table: Path
    run: Path
    sweep: Path

    @property
    def pictures(self) -> list[Path]:
        return sorted(self.table.parent.glob("*.png"))

    def bench(self, *runs: Path) -> eval_setup.EvalSetup:
        model = ModelConfig("") if runs else ModelConfig(str(self.text), str(self.image))
        data = DataConfig(name="table", root=str(self.table))
        config = EvalConfig(tuple(map(str, runs)), model=model, data=data, fit=FitConfig(device="cpu"))
        return eval_setup.prepare(config, read_runs(config.runs) if runs else [], ignore)


def draw(folder: Path, images: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for number in range(images):
        pixels = torch.randint(0, 256, (8, 8, 3), generator=generator, dtype=torch.uint8).numpy()
        Image.fromarray(pixels).resize((40 + number % 5, 36)).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def album(world: World, tmp_path_factory: pytest.TempPathFactory) -> Album:
    folder = tmp_path_factory.mktemp("album")
    data = folder / "data"
    data.mkdir()
    rows = rows_of()
    draw(data, len({row["image"] for row in rows}))
    image = tiny_image_checkpoint(folder / "image", seed=6)
    album = Album(world.text, image, write_table(data / "table.jsonl", rows), folder / "run", folder / "sweep")
    shared: dict[str, Any] = {
        "model": ModelConfig(str(world.text), str(image)), "fit": replace(FIT, steps=8),
        "data": DataConfig(name="table", root=str(album.table), shots=SHOTS, val_shots=SHOTS),
        "learning_rates": (3e-2,),
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XPET_CACHE", str(folder / "cache"))
        align.run(world.config(album.run, "de", **shared))
        align.run(world.config(album.sweep, "de", "tr", routines=("1",), seeds=(1, 2), **shared))
    return album


def shake(runs: Path) -> None:
    """Move every trained number a little, in every run otherwise, so that no module is another's nor the base."""
    for seed, path in enumerate(sorted(runs.glob("*/delta.safetensors"))):
        generator = torch.Generator().manual_seed(seed)
        moved = {n: t + 0.05 * torch.randn(t.shape, generator=generator) for n, t in load_file(path).items()}
        save_file(moved, path)


def base(album: Album) -> xpet.DualEncoder:
    return xpet.load(album.text, image_model=str(album.image), device="cpu")


def test_the_base_gives_what_eval_measures_with(album: Album) -> None:
    bench, model = album.bench(), base(album)
    with bench.bare() as encode:
        alike(model.encode_text(TEXTS, normalize=False), encode(TEXTS))
    pictures = [album.table.parent / name for name in bench.test.images]
    alike(model.encode_image(pictures, normalize=False), bench.images)


def test_a_run_gives_what_eval_measures_with(album: Album) -> None:
    bench, model = album.bench(album.run), xpet.load(album.run, device="cpu")
    record = read_runs([str(album.run)])[0][1]
    with bench.tuned(record) as encode:
        tuned = encode(TEXTS)
    with bench.bare() as encode:
        bare = encode(TEXTS)
    assert not torch.allclose(tuned, bare, atol=1e-3)
    for lang in (None, "de", "DE", "de-AT", "de_CH", "deu", "deu_Latn", "ger"):
        alike(model.encode_text(TEXTS, lang, normalize=False), tuned)
    for lang in ("en", "tr", "den"):
        alike(model.encode_text(TEXTS, lang, normalize=False), bare)
    pictures = [album.table.parent / name for name in bench.test.images]
    alike(model.encode_image(pictures, normalize=False), bench.images)
    assert (model.languages, model.default_lang) == (("de",), "de")


def test_a_sweep_holds_the_best_run_of_every_language(album: Album) -> None:
    bench, model = album.bench(album.sweep), xpet.load(str(album.sweep), device="cpu")
    best = {lang: runs[0] for lang, runs in chosen_runs(read_runs([str(album.sweep)])).items()}
    assert model.runs == {lang: str(path) for lang, (path, _) in best.items()}
    assert set(model.languages) == {"de", "tr"}
    expected = {}
    for lang, (_, record) in best.items():
        with bench.tuned(record) as encode:
            expected[lang] = encode(TEXTS)
    with bench.bare() as encode:
        expected["en"] = encode(TEXTS)
    assert not torch.allclose(expected["de"], expected["tr"], atol=1e-3)
    for lang in ("de", "tr", "en", "de", "en", "tr"):
        alike(model.encode_text(TEXTS, lang, normalize=False), expected[lang])
    assert model.default_lang is None
    alike(model.encode_text(TEXTS, normalize=False), expected["en"])


def test_languages_stay_apart_among_threads(album: Album) -> None:
    model = xpet.load(album.sweep, device="cpu")
    langs = ["de", "tr", "en"] * 8
    alone = {lang: model.encode_text(TEXTS, lang) for lang in set(langs)}
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda lang: model.encode_text(TEXTS, lang), langs))
    for lang, features in zip(langs, found, strict=True):  # another thread may have another share of the cores
        alike(features, alone[lang])


@pytest.mark.parametrize("method", [MethodConfig("full"), MethodConfig("soft-prompt", tokens=3)])
def test_methods_that_are_no_summand(method: MethodConfig, album: Album, world: World, tmp_path: Path) -> None:
    """Full fine-tuning cannot be stacked, a soft prompt takes room from the text: modules switch all the same."""
    align.run(world.config(tmp_path / "runs", "de", "tr", method=method))
    shake(tmp_path / "runs")
    model = xpet.load(tmp_path / "runs", device="cpu")
    for lang in ("de", "en", "tr", "tr", "en", "de"):
        alone = xpet.load(model.runs.get(lang, model.runs["de"]), device="cpu")
        found = model.encode_text(TEXTS, lang)
        alike(found, alone.encode_text(TEXTS, lang))
        assert torch.allclose(found, model.encode_text(TEXTS), atol=1e-6) == (lang == "en")


def test_shapes_order_length_and_batches(album: Album) -> None:
    model = base(album)
    cases: tuple[tuple[Callable[..., torch.Tensor], list[Any]], ...] = (
        (model.encode_text, list(TEXTS)), (model.encode_image, list(album.pictures[:9])),
    )  # fmt: skip
    for encode, inputs in cases:
        features = encode(inputs)
        assert (features.shape, features.dtype, features.device.type) == ((len(inputs), 32), torch.float32, "cpu")
        assert not features.is_inference()
        raw = encode(iter(inputs), normalize=False)
        assert torch.allclose(features, raw / raw.norm(dim=1, keepdim=True), atol=1e-7)
        assert torch.allclose(features.norm(dim=1), torch.ones(len(inputs)), atol=1e-6)
        assert not torch.allclose(raw.norm(dim=1), torch.ones(len(inputs)), atol=1e-2)
        for size in (1, 2, 1000):
            assert torch.allclose(encode(inputs, batch_size=size), features, rtol=0, atol=1e-6)
        order = list(reversed(range(len(inputs))))
        assert torch.allclose(encode([inputs[i] for i in order]), features[order], rtol=0, atol=1e-6)
        for normalize in (True, False):
            empty = encode([], normalize=normalize)
            assert (empty.shape, empty.dtype) == ((0, 32), torch.float32)


def test_paths_and_pictures_mixed(album: Album) -> None:
    model, paths = base(album), album.pictures[:3]
    opened = Image.open(paths[1])
    found = model.encode_image([str(paths[0]), opened, paths[2]])
    assert torch.equal(found, model.encode_image(paths))
    grey = Image.new("L", (50, 40), 90)
    assert torch.equal(model.encode_image([grey]), model.encode_image([grey.convert("RGBA")]))


def test_unreadable_pictures_are_named_together(album: Album, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "short.png").write_bytes(album.pictures[0].read_bytes()[:200])
    cut = Image.open(tmp_path / "short.png")
    inputs: list[Any] = [album.pictures[0], tmp_path / "broken.png", cut, 3, "gone.png"]
    model = base(album)
    with pytest.raises(DataError) as error:
        model.encode_image(inputs, batch_size=2)
    message = str(error.value)
    assert message.startswith("4 of 5 pictures cannot be read: ")
    for part in (
        f"picture {tmp_path / 'broken.png'}: expected a readable picture, found cannot identify image file",
        "picture 2: expected a readable picture, found ",
        "picture 3: expected a path or a PIL image, found int",
        "picture gone.png: expected a file, found none",
    ):
        assert part in message
    with pytest.raises(DataError, match=r"^12 of 12 pictures cannot be read: .*picture 9\.png: .*; and 2 more$"):
        model.encode_image([f"{number}.png" for number in range(12)])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("ein Hund",), ConfigError, "texts: expected a list, found one str; put it into a list"),
        ((3,), ConfigError, "texts: expected a list, found int"),
        ((["a", 3, {}],), DataError, "text 1: expected a string, found int; text 2: expected a string, found dict"),
        ((["a"], "de", 0), ConfigError, "batch_size: expected a whole number from 1 on, found 0"),
        ((["a"], "de", 2.0), ConfigError, "batch_size: expected a whole number from 1 on, found 2.0"),
        ((["a", "b"], ["de"]), ConfigError, "lang: expected one for each of 2 texts, found 1"),
        *(
            ((["a"], lang), ConfigError, f"lang: {CODE}, {found}")
            for lang, found in (
                ("german", "found 'german'"), ("", "found ''"), ("d", "found 'd'"), (["german"], "found 'german'"),
                ([3], "found 3"),
            )
        ),
    ],
)  # fmt: skip
def test_wrong_texts(arguments: tuple, error: type[Exception], words: str, album: Album) -> None:
    with pytest.raises(error) as raised:
        xpet.load(album.run, device="cpu").encode_text(*arguments)
    assert str(raised.value) == words


def test_wrong_pictures(album: Album) -> None:
    model = base(album)
    for single in (str(album.pictures[0]), album.pictures[0], Image.new("RGB", (4, 4))):
        with pytest.raises(ConfigError, match=r"^images: expected a list, found one \w+; put it into a list$"):
            model.encode_image(single)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="^batch_size: expected a whole number from 1 on, found -1$"):
        model.encode_image([], batch_size=-1)


def test_what_a_module_searches_with_shows(album: Album) -> None:
    one, many = xpet.load(album.run, device="cpu"), xpet.load(album.sweep, device="cpu")
    assert one.searches_with == {"de": "text translated to English"}  # routine 3
    assert many.searches_with == {"de": "natural text", "tr": "natural text"}
    assert repr(one) == (
        f"DualEncoder('{album.run}', device='cpu', dimensions=32, "
        "searches_with={'de': 'text translated to English'}, default_lang='de')"
    )
    assert repr(base(album)) == f"DualEncoder('{album.text}', device='cpu', dimensions=32, searches_with={{}})"


def test_a_base_that_changed_is_refused(album: Album, tmp_path: Path) -> None:
    other = tiny_text_checkpoint(tmp_path / "text", seed=4)
    with pytest.raises(ModelError, match=r"run was trained on another text tower: expected weights .*train again$"):
        xpet.load(album.run, model=str(other), device="cpu")
    image = tiny_image_checkpoint(tmp_path / "image", seed=7)
    with pytest.raises(ModelError, match="run was trained on another image tower: expected weights "):
        xpet.load(album.run, image_model=str(image), device="cpu")


def test_a_base_that_moved(album: Album, tmp_path: Path) -> None:
    run, text, image = tmp_path / "run", tmp_path / "text", tmp_path / "image"
    for old, new in ((album.run, run), (album.text, text), (album.image, image)):
        shutil.copytree(old, new)
    config = json.loads((run / "config.json").read_text("utf-8"))
    config["model"] = {"text": str(tmp_path / "gone"), "image": str(tmp_path / "gone")}
    (run / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match="gone: expected a checkpoint folder or a hub name"):
        xpet.load(run, device="cpu")
    model, before = xpet.load(run, model=str(text), image_model=str(image), device="cpu"), xpet.load(album.run)
    alike(model.encode_text(TEXTS), before.encode_text(TEXTS))
    alike(model.encode_image(album.pictures[:2]), before.encode_image(album.pictures[:2]))


def test_a_name_on_the_hub_finds_its_partner(album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, image = "M-CLIP/XLM-Roberta-Large-Vit-L-14", "openai/clip-vit-large-patch14"
    hub = {text: album.text, image: album.image}
    for module in ("checkpoint", "image_tower"):
        monkeypatch.setattr(f"xpet.models.{module}.checkpoint_folder", lambda name, _: hub.get(str(name), Path(name)))
    alike(xpet.load(text).encode_image(album.pictures[:2]), base(album).encode_image(album.pictures[:2]))
    shutil.copytree(album.run, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text("utf-8"))
    config["model"] = {"text": text, "image": None}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config), "utf-8")
    for moved in (None, str(album.text)):  # the partner is the trained tower's, wherever the base is now
        model = xpet.load(tmp_path / "run", model=moved)
        alike(model.encode_image(album.pictures[:2]), base(album).encode_image(album.pictures[:2]))


def test_a_run_on_image_features_of_the_users_own(album: Album, world: World, tmp_path: Path) -> None:
    align.run(world.config(tmp_path / "run"))
    model = xpet.load(tmp_path / "run", device="cpu")
    assert model.encode_text(TEXTS).shape == (len(TEXTS), 32)
    for pictures in ([], album.pictures[:1]):
        with pytest.raises(
            ModelError, match=r"run: no image tower is known .*xpet\.load\(\.\.\., image_model=\.\.\.\)"
        ):
            model.encode_image(pictures)
    given = xpet.load(tmp_path / "run", image_model=str(album.image), device="cpu")
    alike(given.encode_image(album.pictures[:2]), base(album).encode_image(album.pictures[:2]))
    alike(given.encode_text(TEXTS), model.encode_text(TEXTS))
    wide = tiny_image_checkpoint(tmp_path / "wide", dims=16)
    with pytest.raises(ModelError, match="^the towers do not fit together: the text tower gives 32 dimensions"):
        xpet.load(tmp_path / "run", image_model=str(wide), device="cpu")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p: p, DataError, "expected a run, a folder of runs or a checkpoint with config.json, found none$"),
        (lambda p: p / "gone", ModelError, "gone: expected a run, a folder of runs or a checkpoint folder, found no"),
        (lambda p: str(p / "gone"), ModelError, "gone: expected a checkpoint folder or a hub name"),
        (lambda p: p / "file", ModelError, "file: expected a checkpoint folder, found a file$"),
    ],
)  # fmt: skip
def test_what_cannot_be_loaded(
    make: Callable[[Path], Path | str], error: type[Exception], words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error, match=words):
        xpet.load(make(tmp_path), device="cpu")


def test_a_path_no_file_system_takes(album: Album) -> None:
    with pytest.raises(DataError, match="^1 of 1 pictures cannot be read: picture x+: expected a file, found none$"):
        base(album).encode_image(["x" * 5000])


def test_damaged_and_unlike_runs(album: Album, world: World, tmp_path: Path) -> None:
    shutil.copytree(album.run, tmp_path / "damaged")
    (tmp_path / "damaged" / "split.json").unlink()
    with pytest.raises(DataError, match="damaged is no run: expected the files config.json"):
        xpet.load(tmp_path / "damaged", device="cpu")
    shutil.copytree(album.run, tmp_path / "runs" / "lora")
    align.run(world.config(tmp_path / "runs" / "own", "tr"))
    with pytest.raises(DataError, match="differ in base: evaluate them one at a time$"):
        xpet.load(tmp_path / "runs", device="cpu")


def test_devices(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [xpet.load(album.run, device=d).device for d in ("auto", "cpu", torch.device("cpu"))] == ["cpu"] * 3
    for device in ("tpu", "mps", "gpu:x"):
        with pytest.raises(
            ConfigError, match=f"^device: expected 'auto', 'cpu', 'cuda' or 'cuda:N', found '{device}'$"
        ):
            xpet.load(album.run, device=device)
    with pytest.raises(ConfigError, match="^device: torch finds 0 GPUs here, expected one of them, found 'cuda:1'"):
        xpet.load(album.run, device="cuda:1")
    with pytest.raises(ConfigError, match="^model: expected nothing, as '.*' is a base model itself, found 'demo'$"):
        xpet.load(album.text, model="demo")


def test_the_demo_is_searched_in_french() -> None:
    pictures = xpet.demo_pictures("test", limit=40)
    assert list(pictures) == [f"demo_{number:05d}" for number in range(6000, 6040)]
    assert {(picture.size, picture.mode) for picture in pictures.values()} == {((64, 64), "RGB")}
    model = xpet.load("demo", device="cpu")
    query = model.encode_text(["quatre voitures orange sur la plage"], lang="fr")
    scores = query @ model.encode_image(pictures.values()).T
    assert list(pictures)[int(scores[0].argmax())] == "demo_06007"


def test_pictures_the_demo_does_not_have() -> None:
    assert xpet.demo_pictures(limit=0) == {}
    with pytest.raises(ConfigError, match="^unknown split of the demo 'tset': expected one of .*; did you mean 'test'"):
        xpet.demo_pictures("tset")
    with pytest.raises(ConfigError, match="^limit must not be negative, found -1$"):
        xpet.demo_pictures(limit=-1)
