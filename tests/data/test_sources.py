"""The readers of XTD and Multi30K, on small copies of their layouts and on the published files."""

from __future__ import annotations

import gzip
import subprocess
import sys

import pytest

from xpet.core.captions import ReadRequest
from xpet.core.errors import ConfigError, DataError
from xpet.data.sources import SOURCES


@pytest.fixture
def xtd(tmp_path, write):
    """A three-image XTD; Korean has no translation into English."""
    write("XTD10/test_image_names.txt", "COCO_val2014_1.jpg\nCOCO_train2014_2.jpg\nCOCO_val2014_3.jpg\n")
    for path, code in (("XTD10", "en"), ("XTD10", "ko"), ("MIC", "de"), ("STAIR", "jp")):
        write(f"{path}/test_1kcaptions_{code}.txt", f"\r\n{code} 1\r\n{code} 2")
        write(f"translated_from_en/{code}.txt", f"{code} mt 0\n{code} mt 1\n{code} mt 2\n")
        if code != "ko":
            write(f"translated_to_en/{code}.txt", f"from {code} 0\nfrom {code} 1\n\n")
    return tmp_path


def test_xtd_aligns_four_slots(xtd):
    corpus = SOURCES["xtd"](ReadRequest(str(xtd)))
    assert (corpus.name, corpus.languages, corpus.pictures) == ("xtd", ("en", "de", "ja", "ko"), None)
    captions = corpus.splits["all"].captions
    assert captions["ja"].image_index == (0, 1, 2)
    assert captions["ja"].texts == {
        "pivot": ("", "en 1", "en 2"),
        "target": ("", "jp 1", "jp 2"),
        "from_pivot": ("jp mt 0", "jp mt 1", "jp mt 2"),
        "to_pivot": ("from jp 0", "from jp 1", ""),
    }
    assert set(captions["ko"].texts) == {"pivot", "target", "from_pivot"}
    assert set(captions["en"].texts.values()) == {("", "en 1", "en 2")}
    assert len(captions["en"].texts) == 4
    assert len(corpus.fingerprints) == 1 + 4 + 3 + 2


def test_xtd_of_one_language_still_has_its_pivot(xtd):
    corpus = SOURCES["xtd"](ReadRequest(str(xtd), ("jp",)))
    assert corpus.languages == ("ja",)
    assert corpus.splits["all"].captions["ja"].slot("pivot")[1] == "en 1"


def test_xtd_tells_everything_wrong_at_once(xtd, write, picture):
    write("MIC/test_1kcaptions_de.txt", b"a\nb\xff\n")
    write("translated_to_en/jp.txt", "a\nb\nc\nd\n")
    picture(xtd / "train2014" / "COCO_train2014_2.jpg", (1, 2, 3))
    with pytest.raises(DataError) as error:
        SOURCES["xtd"](ReadRequest(str(xtd), ("de", "ja", "fr", "ru")))
    problems = error.value.problems
    assert len(problems) == 6
    assert "unknown language 'fr': expected one of en, de, ja, ko" in problems[0]
    assert "'ru'" in problems[1]
    assert problems[2:5] == (
        "MIC/test_1kcaptions_de.txt line 2, byte 2: expected UTF-8, found 0xff",
        "MIC/test_1kcaptions_de.txt: expected 3 lines, found 2",
        "translated_to_en/jp.txt: expected 3 lines, found 4",
    )
    assert "found 2 missing: COCO_val2014_1.jpg, COCO_val2014_3.jpg" in problems[5]


def test_xtd_finds_coco_folders(xtd, picture):
    for folder, name in (("val2014", "val2014_1"), ("images/train2014", "train2014_2"), (".", "val2014_3")):
        picture(xtd / folder / f"COCO_{name}.jpg", (9, 9, 9))
    pictures = SOURCES["xtd"](ReadRequest(str(xtd))).pictures
    assert pictures.open("COCO_train2014_2.jpg").getpixel((0, 0)) == (9, 9, 9)


def test_bad_requests(tmp_path):
    with pytest.raises(ConfigError, match="expected --data-root with"):
        SOURCES["xtd"](ReadRequest())
    with pytest.raises(ConfigError, match="expected no variant, found 'task1'"):
        SOURCES["xtd"](ReadRequest(str(tmp_path), variant="task1"))
    with pytest.raises(ConfigError, match="unknown variant 'task3': expected one of task1, task2"):
        SOURCES["multi30k"](ReadRequest(str(tmp_path), variant="task3"))
    for name in ("xtd", "multi30k"):
        with pytest.raises(DataError, match="expected caption files, found none"):
            SOURCES[name](ReadRequest(str(tmp_path)))
        with pytest.raises(DataError, match="found nothing there"):
            SOURCES[name](ReadRequest(str(tmp_path / "absent")))


@pytest.fixture
def task1(tmp_path, write):
    """Task 1 with 3, 2 and 2 images; German plain, the others gzip."""
    for stem, count in (("train", 3), ("val", 2), ("test_2016_flickr", 2)):
        write(f"task1/image_splits/{stem}.txt", "".join(f"{stem}{i}.jpg\n" for i in range(count)))
        for code in ("en", "de", "cs"):
            text = "".join(f"{stem} {code} {i}\n" for i in range(count)).encode()
            ending, data = ("", text) if code == "de" else (".gz", gzip.compress(text))
            write(f"task1/raw/{stem}.{code}{ending}", data)
        write(f"task1/translated_to_en/{stem}.de", "".join(f"mt {i}\n" for i in range(count)))
    return tmp_path


@pytest.mark.parametrize("below", ["", "task1"])
def test_multi30k_task1(task1, below):
    corpus = SOURCES["multi30k"](ReadRequest(str(task1 / below)))
    assert corpus.name == "multi30k-task1"
    assert {name: len(split.images) for name, split in corpus.splits.items()} == {
        "train": 3, "validation": 2, "test": 2,
    }  # fmt: skip
    assert corpus.languages == ("en", "cs", "de")
    german = corpus.splits["validation"].captions["de"].texts
    assert german == {
        "pivot": ("val en 0", "val en 1"), "target": ("val de 0", "val de 1"), "to_pivot": ("mt 0", "mt 1"),
    }  # fmt: skip


def test_multi30k_tells_everything_wrong_at_once(task1, write, picture):
    (task1 / "task1/raw/val.cs.gz").unlink()
    write("task1/raw/test_2016_flickr.de", "only one\n")
    write("task1/translated_to_en/train.de", "a\nb\nc\nd\n")
    picture(task1 / "task1/images/train0.jpg", (0, 0, 0))
    with pytest.raises(DataError) as error:
        SOURCES["multi30k"](ReadRequest(str(task1)))
    assert error.value.problems[:3] == (
        "translated_to_en/train.de: expected 3 lines, found 4",
        f"raw/val.cs: expected a file, found none in {task1 / 'task1'}",
        "raw/test_2016_flickr.de: expected 2 lines, found 1",
    )
    assert "expected 7 pictures" in error.value.problems[3]
    assert "found 6 missing: train1.jpg, train2.jpg, val0.jpg, ...;" in error.value.problems[3]


def test_multi30k_task2_rows_stand_image_by_image(tmp_path, write):
    write("task2/image_splits/test_2016_images.txt", "a.jpg\nb.jpg\n")
    for number in range(1, 6):
        for code in ("en", "de"):
            write(f"task2/raw/test_2016.{number}.{code}", f"a {code} {number}\nb {code} {number}\n")
    corpus = SOURCES["multi30k"](ReadRequest(str(tmp_path), variant="task2"))
    assert list(corpus.splits) == ["test"]
    german = corpus.splits["test"].captions["de"]
    assert german.image_index == (0,) * 5 + (1,) * 5
    assert german.slot("target") == tuple(f"{image} de {n}" for image in "ab" for n in range(1, 6))
    assert german.slot("pivot") == tuple(f"{image} en {n}" for image in "ab" for n in range(1, 6))
    (tmp_path / "task2/raw/test_2016.4.de").unlink()
    with pytest.raises(DataError, match=r"raw/test_2016\.4\.de: expected a file, found none"):
        SOURCES["multi30k"](ReadRequest(str(tmp_path), variant="task2"))


def test_published_files(shared_data):
    xtd = SOURCES["xtd"](ReadRequest(str(shared_data / "xtd10")))
    assert xtd.languages == ("en", "de", "es", "fr", "it", "ja", "ko", "pl", "ru", "tr", "zh")
    column = xtd.splits["all"].captions["ja"]
    assert {slot: len(rows) for slot, rows in column.texts.items()} == dict.fromkeys(
        ("pivot", "target", "from_pivot", "to_pivot"), 1000
    )
    assert xtd.splits["all"].images[0] == "COCO_train2014_000000061844.jpg"
    assert not any(text.endswith("\r") for text in xtd.splits["all"].captions["ru"].slot("target"))
    task1 = SOURCES["multi30k"](ReadRequest(str(shared_data / "multi30k")))
    assert task1.languages == ("en", "cs", "de", "fr")
    assert [len(split.images) for split in task1.splits.values()] == [5000, 1014, 1000]
    task2 = SOURCES["multi30k"](ReadRequest(str(shared_data / "multi30k/task2"), variant="task2"))
    rows = {name: len(split.captions["de"].image_index) for name, split in task2.splits.items()}
    assert rows == {"validation": 5070, "test": 5000}


def test_reading_imports_nothing_heavy():
    code = (
        "import sys, xpet.data.sources, xpet.data.splits, xpet.data.lint, xpet.data.features, xpet.data.images;"
        "assert not {'torch', 'PIL', 'pyarrow', 'numpy', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
