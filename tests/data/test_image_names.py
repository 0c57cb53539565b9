"""One picture, however its name is written: in tables, split files and image lists."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from xpet.core.captions import Corpus, LanguageCaptions, ReadRequest, Split
from xpet.core.errors import DataError
from xpet.data import images, multi30k, table, xtd
from xpet.data.images import FolderPictures, ImageNames, canonical, find_pictures, match_spelling
from xpet.data.splits import SplitPlan
from xpet.data.text_files import CaptionFiles

COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "caf\u00e9/\u00fc.png") for form in ("NFC", "NFD"))
ALIKE = (
    "./p0.png", "p0.png", ".//p0.png", "sub/../p0.png", "sub//..//./p0.png", ".\\p0.png", "sub\\..\\p0.png",
    "././p0.png",
)  # fmt: skip


def rows(*names: str, split: str | None = None) -> str:
    """Lines of a table: each image once in English and in German."""
    end = "" if split is None else f",{split}"
    return "".join(f'"{name}",{lang},{lang} of picture{end}\n' for name in names for lang in ("en", "de"))


def read(path: Path) -> Corpus:
    return table.read(ReadRequest(str(path)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a.png"), ("a/b.png", "a/b.png"), ("...", "..."), (".hidden/a..png", ".hidden/a..png"),
        ("a b%20c.png", "a b%20c.png"), ("./a.png", "a.png"), ("a//b.png", "a/b.png"), ("a/./b.png", "a/b.png"),
        ("x/../a.png", "a.png"), ("../a.png", "../a.png"), ("a\\b.png", "a/b.png"), (".\\a.png", "a.png"),
        ("/x/a.png", "/x/a.png"), ("//x/a.png", "/x/a.png"), ("a/", "a"), ("", "."), (DECOMPOSED, COMPOSED),
    ],
)  # fmt: skip
def test_the_one_way_to_write_a_name(name: str, expected: str) -> None:
    assert canonical(name) == expected
    assert canonical(expected) == expected
    assert bool(images._PLAIN.fullmatch(name)) == (
        name == expected and name.isascii() and not name.startswith(("/", "../"))
    )


def test_below_a_root_names_are_relative_to_it() -> None:
    assert canonical("/data/x/a.png", "/data/x") == "a.png"
    assert canonical("../x/a.png", "/data/x") == "a.png"
    assert canonical("/data/xy/a.png", "/data/x") == "/data/xy/a.png"
    assert canonical("../a.png", "/data/x") == "/data/a.png"
    assert canonical("/a.png", "/") == "a.png"


@pytest.mark.parametrize("drawn", [True, False])
def test_a_table_names_one_picture_in_many_ways(
    drawn: bool, tmp_path: Path, write: Callable, picture: Callable
) -> None:
    absolute = [str(tmp_path / "p0.png"), f"{tmp_path}//./p0.png", f"../{tmp_path.name}/p0.png"]
    path = write("t.csv", "image,lang,caption\n" + rows("p1.png", *ALIKE, *absolute, "p1.png"))
    if drawn:
        (tmp_path / "sub").mkdir()
        for number in range(2):
            picture(tmp_path / f"p{number}.png", (number, 0, 0))
    split = read(path).splits["all"]
    assert split.images == ("p1.png", "./p0.png")
    assert split.captions["de"].image_index == (0, *[1] * (len(ALIKE) + 3), 0)
    assert (read(path).pictures is None) != drawn


def test_the_case_of_the_issue(tmp_path: Path, write: Callable, picture: Callable) -> None:
    names = [name for number in range(24) for name in (f"p{number}.png", f"./p{number}.png")]
    path = write("dot.csv", "image,lang,caption\n" + rows(*names))
    for number in range(24):
        picture(tmp_path / f"p{number}.png", (number, 0, 0))
    split = read(path).splits["all"]
    assert split.images == tuple(f"p{number}.png" for number in range(24))
    assert len(split.captions["de"].image_index) == 48


def test_a_name_is_found_however_the_disk_writes_it(tmp_path: Path, picture: Callable) -> None:
    picture(tmp_path / "a/b.png", (1, 0, 0))
    picture(tmp_path / DECOMPOSED, (2, 0, 0))
    pictures = FolderPictures((tmp_path,))
    for name in ("a\\b.png", "a/x/../b.png", "x\\..\\a\\b.png"):
        assert pictures.open(name).getpixel((0, 0)) == (1, 0, 0), name
    for name in (COMPOSED, DECOMPOSED, f"./{COMPOSED}", COMPOSED.replace("/", "\\")):
        assert pictures.open(name).getpixel((0, 0)) == (2, 0, 0), name
    assert pictures.path("a%2Fb.png") is None


def test_names_written_alike_of_two_files_are_two_pictures(tmp_path: Path, write: Callable, picture: Callable) -> None:
    for number, name in enumerate(("a\\b.png", "a/b.png", COMPOSED, DECOMPOSED, "p.png")):
        picture(tmp_path / name, (number, 0, 0))
    picture(tmp_path / "far/away/p.png", (9, 0, 0))
    (tmp_path / "link").symlink_to(tmp_path / "far/away/deep")
    (tmp_path / "far/away/deep").mkdir()
    names = ("a\\b.png", "a/b.png", COMPOSED, DECOMPOSED, "p.png", "link/../p.png")  # the last is far/away/p.png
    corpus = read(write("t.csv", "image,lang,caption\n" + rows(*names, "./a/b.png", "far/away/p.png")))
    assert corpus.splits["all"].images == names
    assert [corpus.pictures.open(name).getpixel((0, 0))[0] for name in names] == [0, 1, 2, 3, 4, 9]  # type: ignore


@pytest.mark.parametrize("kind", ["soft", "hard", "folder", "chain"])
def test_links_to_one_file_are_one_picture(kind: str, tmp_path: Path, write: Callable, picture: Callable) -> None:
    picture(tmp_path / "sub/p0.png", (0, 0, 0))
    picture(tmp_path / "p1.png", (0, 0, 0))  # the same contents, yet another picture
    other = "q.png"
    if kind == "soft":
        (tmp_path / other).symlink_to("sub/p0.png")
    elif kind == "hard":
        os.link(tmp_path / "sub/p0.png", tmp_path / other)
    elif kind == "folder":
        (tmp_path / "again").symlink_to("sub")
        other = "again/p0.png"
    else:
        (tmp_path / "r.png").symlink_to(tmp_path / "sub/p0.png")
        (tmp_path / other).symlink_to("r.png")
    path = write("t.csv", "image,lang,caption\n" + rows(other, "p1.png", "sub/p0.png"))
    split = read(path).splits["all"]
    assert split.images == (other, "p1.png")
    assert split.captions["de"].image_index == (0, 1, 0)
    assert split.captions["de"].slot("pivot") == ("en of picture",) * 3


def test_one_picture_in_two_splits_is_an_error_that_names_both(
    tmp_path: Path, write: Callable, picture: Callable
) -> None:
    head = "image,lang,caption,split\n"
    path = write("t.csv", head + rows("p0.png", split="train") + rows("./p0.png", split="test"))
    with pytest.raises(DataError) as error:
        read(path)
    told = "image p0.png, here written ./p0.png, is in split train and in test"
    assert error.value.problems == (f"t.csv line 4: {told}", f"t.csv line 5: {told}")
    picture(tmp_path / "p0.png", (0, 0, 0))
    (tmp_path / "q.png").symlink_to("p0.png")
    path = write("t.csv", head + rows("p0.png", split="train") + rows("q.png", split="test"))
    with pytest.raises(DataError) as error:
        read(path)
    assert error.value.problems == ("t.csv: images p0.png and q.png are one file, in split train and in test",)


def corpus(*names: str, pictures: FolderPictures | None = None) -> Corpus:
    captions = LanguageCaptions("en", tuple(range(len(names))), {"target": names})
    return Corpus("tiny", {"all": Split(names, {"en": captions})}, pictures)


def test_split_files_match_by_the_same_rule(tmp_path: Path, picture: Callable) -> None:
    for number in range(3):
        picture(tmp_path / f"p{number}.png", (number, 0, 0))
    (tmp_path / "link.png").symlink_to("p2.png")
    here = corpus("./p0.png", "p1.png", "p2.png", pictures=FolderPictures((tmp_path,)))
    wanted = SplitPlan((0,), (1,), (2,))
    for first, second, third in (
        ("p0.png", "./p1.png", "p2.png"), (str(tmp_path / "p0.png"), "x\\..\\p1.png", "link.png"),
        ("./p0.png", "p1.png", f"../{tmp_path.name}/link.png"),
    ):  # fmt: skip
        text = json.dumps({"train": [first], "validation": [second], "test": [third]})
        assert SplitPlan.from_json(text, here) == wanted
    alone = corpus("./p0.png", "p1.png", "p2.png")
    text = json.dumps({"train": ["p0.png"], "validation": [".\\p1.png"], "test": ["./p2.png"]})
    assert SplitPlan.from_json(text, alone) == wanted
    text = json.dumps({"train": ["p0.png"], "validation": ["./p0.png"], "test": ["p2.png", ".//p2.png", "p9.png"]})
    with pytest.raises(DataError) as error:
        SplitPlan.from_json(text, here)
    assert error.value.problems == (
        "split file, validation: expected every image once, found 1 (./p0.png) again",
        "split file, test: expected images of tiny, found 1 (p9.png) unknown",
        "split file, test: expected every image once, found 1 (p2.png) again",
    )


def test_names_are_written_as_the_images_are() -> None:
    assert match_spelling(["b", "./a", "c/../b", "z"], ["a", "b"]) == ["b", "a", "b", "z"]
    assert match_spelling(["a"], ["a", "b"]) == ["a"]


def test_image_lists_name_every_picture_once(tmp_path: Path, write: Callable, picture: Callable) -> None:
    path = write("list.txt", "a.jpg\nb.jpg\n./a.jpg\n\nb.jpg\nc\0.jpg\n")
    files = CaptionFiles(tmp_path)
    assert files.image_names(path) == ("a.jpg", "b.jpg", "./a.jpg", "", "b.jpg", "c\0.jpg")
    assert files.problems == [
        "list.txt line 3: image ./a.jpg stands on line 1 too as a.jpg",
        "list.txt line 4: expected an image name, found a blank line",
        "list.txt line 5: image b.jpg stands on line 2 too",
        "list.txt line 6: expected an image name, found 'c\\x00.jpg', which no file can have",
    ]


def test_links_in_published_layouts_are_one_picture(tmp_path: Path, write: Callable, picture: Callable) -> None:
    write("XTD10/test_image_names.txt", "a.jpg\nb.jpg\nc.jpg\n")
    write("XTD10/test_1kcaptions_en.txt", "one\ntwo\nthree\n")
    for name in ("a.jpg", "c.jpg"):
        picture(tmp_path / "images" / name, (1, 2, 3))
    (tmp_path / "images/b.jpg").symlink_to("a.jpg")
    split = xtd.read(ReadRequest(str(tmp_path))).splits["all"]
    assert split.images == ("a.jpg", "c.jpg")
    assert split.captions["en"].image_index == (0, 0, 1)
    assert split.captions["en"].slot("target") == ("one", "two", "three")


def multi30k_files(write: Callable, train: str, validation: str) -> None:
    """Two captions and images a split."""
    second = {"train": train, "val": validation, "test_2016_flickr": "z.jpg"}
    for stem, image in second.items():
        write(f"raw/{stem}.en", "a caption\nanother\n")
        write(f"image_splits/{stem}.txt", f"{stem}.jpg\n{image}\n")


def test_multi30k_splits_share_no_picture(tmp_path: Path, write: Callable, picture: Callable) -> None:
    multi30k_files(write, "a.jpg", "./a.jpg")
    with pytest.raises(DataError) as error:
        multi30k.read(ReadRequest(str(tmp_path)))
    assert str(error.value) == "image_splits: image a.jpg is in split train and, as ./a.jpg, in validation"
    multi30k_files(write, "a.jpg", "b.jpg")
    for name in ("a", "train", "val", "test_2016_flickr", "z"):
        picture(tmp_path / f"images/{name}.jpg", (1, 2, 3))
    (tmp_path / "images/b.jpg").symlink_to("a.jpg")
    with pytest.raises(DataError) as error:
        multi30k.read(ReadRequest(str(tmp_path)))
    assert str(error.value) == "image_splits: image a.jpg is in split train and, as b.jpg, in validation"
    (tmp_path / "images/b.jpg").unlink()
    (tmp_path / "images/b.jpg").symlink_to("val.jpg")
    split = multi30k.read(ReadRequest(str(tmp_path))).splits["validation"]
    assert (split.images, split.captions["en"].image_index) == (("val.jpg",), (0, 0))


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "a\udc80.png"])
def test_names_that_no_file_can_have(name: str, tmp_path: Path, write: Callable) -> None:
    lines = [json.dumps({"image": name, "lang": lang, "caption": "x"}) + "\n" for lang in ("en", "de")]
    with pytest.raises(DataError) as error:
        read(write("t.jsonl", "".join(lines)))
    told = f"expected an image name, found {name!r}, which no file can have"
    if "\0" not in name:
        told = f"expected text in column image, found half a surrogate pair in {name!r}"
    assert error.value.problems == (f"t.jsonl line 1: {told}", f"t.jsonl line 2: {told}")
    pictures = FolderPictures((tmp_path,))
    assert pictures.path(name) is None
    with pytest.raises(DataError, match="found no such file"):
        pictures.digest(name)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "sub", "sub/", "x" * 300, "x/" * 3000 + "y", "/", "p0.png/", "p0.png/x"]
)
def test_names_of_no_picture_are_missing(name: str, tmp_path: Path, picture: Callable) -> None:
    (tmp_path / "sub").mkdir()
    picture(tmp_path / "p0.png", (0, 0, 0))
    pictures = FolderPictures((tmp_path,))
    found = pictures.path(name)
    assert found is None or name == "p0.png/"
    problems: list[str] = []
    same: dict[str, str] = {}
    find_pictures([tmp_path], ["p0.png", name], problems, same)
    assert len(problems) + len(same) == 1


def test_what_stands_in_place_of_a_picture_is_told(
    tmp_path: Path, picture: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "p0.png", (0, 0, 0))
    (tmp_path / "p1.png").mkdir()
    os.mkfifo(tmp_path / "p2.png")
    (tmp_path / "p3.png").symlink_to("nowhere")
    (tmp_path / "p4.png").symlink_to("p4.png")
    found = ["a folder", "something other than a plain file", "a broken link", "a broken link"]
    pictures = FolderPictures((tmp_path,))
    for number, words in enumerate(found, start=1):
        problems: list[str] = []
        find_pictures([tmp_path], ["p0.png", f"p{number}.png"], problems, {})
        assert f"found 1 missing: p{number}.png ({words}); add them" in problems[0]
        with pytest.raises(DataError) as error:
            pictures.open(f"p{number}.png")
        assert str(error.value) == f"picture p{number}.png: expected it in {tmp_path}, found {words}"
    real = os.stat

    def closed(path: str, **options: object) -> os.stat_result:
        if str(path).endswith("p5.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(DataError, match="found one that may not be looked at"):
        pictures.digest("p5.png")


def test_a_million_names_cost_a_look_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    monkeypatch.setattr(FolderPictures, "file_number", lambda self, name: looks.append(name))
    names = ImageNames(FolderPictures((tmp_path,)))
    given = [f"train/{number}.jpg" for number in range(1000)]
    thrice = [name for name in given for _ in range(3)]
    assert [names.first_spelling(name) for name in thrice] == thrice
    assert looks == []  # only names that are written alike are looked for
    names.first_spelling("./train/7.jpg")
    assert set(looks) == {"train/7.jpg", "./train/7.jpg"}
