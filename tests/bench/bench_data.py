"""Times what is around training: reading captions, encoding pictures, ranking; ratios first.

    python -m tests.bench.bench_data [--what captions,pictures,ranking] [--captions 1000000] [--pictures 512]
        [--size tiny|base|large] [--device cpu|cuda] [--smoke] [--out FILE.json]

- captions: a million captions (two languages by half) from each format, each read in a process of its own; and the
  same table when only one of its ten languages is asked for: memory should follow what is used.
- pictures: photo-sized JPEG files through an image tower into features, against a plain loop that opens, prepares and
  encodes 64 at a time, and against the tower alone, which has the same pixels all the time.
- ranking: `eval`'s 100,000 images by 100,000 captions in blocks; on a CPU the time of some thousand queries is
  extrapolated, on a GPU all are searched with.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch

from tests.bench import meter
from tests.bench.meter import Peak, Rows, in_turns, ratio, resident, seconds
from tests.bench.setting import SIZES, image_tower

COLUMNS = ("image", "lang", "caption")
TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz")
MANY = ("en", "de", "es", "fr", "it", "ja", "ko", "pl", "ru", "zh")
PHOTO = (640, 480)
DIMS = 512

READ = """
import sys, time, json
from xpet.core.captions import ReadRequest
from xpet.data.sources import SOURCES
import xpet.data.table, csv, hashlib
from tests.bench.meter import Peak
if sys.argv[2].endswith(".parquet"):
    import pyarrow.parquet
peak, started = Peak("cpu"), time.perf_counter()
languages = tuple(sys.argv[3].split(",")) if len(sys.argv) > 3 else None
corpus = SOURCES[sys.argv[1]](ReadRequest(root=sys.argv[2], languages=languages))
seconds = time.perf_counter() - started
texts = {id(t): t for s in corpus.splits.values() for c in s.captions.values() for x in c.texts.values() for t in x}
kept = sum(map(sys.getsizeof, texts.values())) / 2**20
rows = sum(len(c.image_index) for s in corpus.splits.values() for c in s.captions.values())
print(json.dumps([seconds, 1024 * peak.gib(), kept, rows]))
"""


def caption(number: int) -> str:
    """One of about the usual length, each another."""
    return f"A man in a red shirt rides wave number {number} on top of a long surfboard."


def captions(given: argparse.Namespace) -> tuple[Rows, list[str]]:
    """Every format, the same captions."""
    count = given.captions
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        places = _two_languages(root, count // 2)
        for name, (source, path) in places.items():
            rows.append(_reading(name, source, path, ()))
        few = _table(root / "ten.csv", count // len(MANY), MANY)
        rows.append(_reading("csv, ten languages, all", "table", few, ()))
        rows.append(_reading("csv, ten languages, one asked for", "table", few, ("de",)))
    return rows, [
        f"{count:,} captions of about {len(caption(1))} characters, distinct; each format in a process of its own",
        "peak: above what the process held before reading; strings: what the captions kept take",
    ]


def _two_languages(root: Path, images: int) -> dict[str, tuple[str, Path]]:
    """Source and path of every format: one caption per image in en and de."""
    found = {f"table {end}": ("table", _table(root / f"table{end}", images, ("en", "de"))) for end in TABLES}
    names = "".join(f"image{i}.jpg\n" for i in range(images))
    lines = "".join(caption(i) + "\n" for i in range(images)), "".join(caption(-i - 1) + "\n" for i in range(images))
    for end in ("", ".gz"):
        place = root / f"multi30k{end}"
        (place / "task1" / "raw").mkdir(parents=True)
        (place / "task1" / "image_splits").mkdir()
        (place / "task1" / "image_splits" / "train.txt").write_text(names)
        for language, text in zip(("en", "de"), lines, strict=True):
            data = gzip.compress(text.encode(), 1) if end else text.encode()
            (place / "task1" / "raw" / f"train.{language}{end}").write_bytes(data)
        found[f"lines of text{end}"] = ("multi30k", place)
    return found


def _table(path: Path, images: int, languages: tuple[str, ...]) -> Path:
    rows = ((f"image{i}.jpg", lang, caption(images * j + i)) for i in range(images) for j, lang in enumerate(languages))
    ending = path.name.split(".", 1)[1]
    if ending == "parquet":
        import pyarrow
        from pyarrow import parquet

        columns = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
        parquet.write_table(pyarrow.table(columns), path)
        return path
    opened = gzip.open(path, "wt", compresslevel=1) if ending.endswith(".gz") else path.open("w", encoding="utf-8")
    with opened as file:
        if ending == "jsonl":
            file.writelines(json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" for row in rows)
        elif ending == "tsv":  # has no quoting
            file.writelines("\t".join(row) + "\n" for row in [COLUMNS, *rows])
        else:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(rows)
    return path


def _reading(name: str, source: str, path: Path, languages: tuple[str, ...]) -> dict[str, Any]:
    command = [sys.executable, "-c", READ, source, str(path), *([",".join(languages)] if languages else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    taken, peak, kept, rows = json.loads(done.stdout)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files) / 2**20
    return {
        "format": name, "peak / strings": peak / kept, "seconds": taken, "captions/s": rows / taken, "peak MiB": peak,
        "strings MiB": kept, "files MiB": size,
    }  # fmt: skip


def photos(folder: Path, count: int) -> list[str]:
    """JPEG files of the usual size, smooth with some noise."""
    from PIL import Image

    rng = numpy.random.default_rng(0)
    for number in range(count):
        small = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=numpy.uint8)).resize(PHOTO)
        noisy = numpy.asarray(small, dtype=numpy.int16) + rng.integers(-12, 12, (PHOTO[1], PHOTO[0], 1))
        Image.fromarray(noisy.clip(0, 255).astype(numpy.uint8)).save(folder / f"{number}.jpg", quality=90)
    return [f"{number}.jpg" for number in range(count)]


def pictures(given: argparse.Namespace) -> tuple[Rows, list[str]]:
    """The feature store against the loop one would write."""
    from xpet.data.features import BATCH, BATCH_ON_GPU, WORKERS, image_features
    from xpet.data.images import FolderPictures
    from xpet.models.image_tower import LoadedImage
    from xpet.models.precision import precision_on
    from xpet.models.preprocessing import canonical_processing, image_processor

    on_gpu = given.device == "cuda"
    batch = BATCH_ON_GPU if on_gpu else BATCH
    side = SIZES[given.size].vision["image_size"]
    settings = canonical_processing({"size": side, "crop_size": side})
    loaded = LoadedImage(
        image_tower(SIZES[given.size], given.device), image_processor(settings), "", json.dumps(settings)
    )  # fmt: skip
    numbers = iter(range(10**6))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names, source = photos(root, given.pictures), FolderPictures((root,))

        def store() -> None:
            encode = lambda cut: (loaded.start if on_gpu else loaded.encode)(cut, given.device)  # noqa: E731
            where = root / f"store{next(numbers)}"
            image_features(names, source, encode, "key", where, batch, prepare=loaded.prepare)

        def loop() -> None:
            for start in range(0, len(names), 64):
                opened = [source.open(name) for name in names[start : start + 64]]
                pixels = loaded.processor(images=opened, return_tensors="pt")["pixel_values"].to(given.device)
                with torch.inference_mode():
                    loaded.tower(pixel_values=pixels).image_embeds.cpu()

        fixed = list(torch.zeros(min(batch, len(names)), 3, side, side, dtype=torch.uint8))
        times_over = 8 if on_gpu else 1

        def alone() -> None:
            for arrived in [loaded.start(fixed, given.device) for _ in range(times_over)]:
                arrived()

        loop()
        times = in_turns({
            "feature store": lambda: seconds(store, given.device), "plain loop": lambda: seconds(loop, given.device),
            "the tower alone": lambda: seconds(alone, given.device) * len(names) / len(fixed) / times_over,
        }, given.rounds)  # fmt: skip
        peak = Peak("cpu")
        store()
        memory = peak.gib()
    rows: Rows = [
        {"what": name, "ratio to the loop": ratio(times["plain loop"], taken),
         "images/s": len(names) / statistics.median(taken)} for name, taken in times.items()
    ]  # fmt: skip
    return rows, [
        f"{len(names)} JPEG files of {PHOTO[0]} x {PHOTO[1]}, {given.size} image tower, {given.device}; the store also "
        f"digests and writes; {WORKERS} worker threads, batches of {batch}, the store in "
        f"{precision_on(given.device)}, the plain loop in fp32, peak {1024 * memory:.0f} MiB; median of "
        f"{given.rounds} rounds",
    ]


def ranking(given: argparse.Namespace) -> tuple[Rows, list[str]]:
    """A slice of the queries against all candidates, both directions; memory must not follow the matrix."""
    from xpet.core.ranking import rank

    size, asked = given.candidates, given.queries
    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.normalize(torch.randn(size, DIMS, generator=generator), dim=1)
    text = torch.nn.functional.normalize(image + 0.3 * torch.randn(size, DIMS, generator=generator), dim=1)
    rows: Rows = []
    place = torch.arange(asked)
    for name, query, candidates in (("image to text", image, text), ("text to image", text, image)):
        query, candidates = query[:asked].to(given.device), candidates.to(given.device)
        own = place.to(given.device)
        rank(query[:10], candidates, own[:10], own[:10])
        peak = Peak(given.device)
        started = time.perf_counter()
        found = rank(query, candidates, own, own)
        meter.wait(given.device)
        taken = time.perf_counter() - started
        matrix = asked * size * 4 / 2**30
        rows.append({
            "what": name, "peak / matrix of the slice": peak.gib() / matrix, "queries": asked, "candidates": size,
            "seconds": taken, f"all {size:,} s, extrapolated": taken * size / asked, "peak GiB": peak.gib(),
            "R@1 %": 100 * float(found.hits(1).mean()),
        })  # fmt: skip
    full = size * size * 4 / 2**30
    return rows, [f"the whole matrix would take {full:,.0f} GiB; features of {DIMS} dimensions, fp32, {given.device}; "
                  f"this process peaked at {resident():.1f} GiB with both features"]  # fmt: skip


PARTS: dict[str, Callable[[argparse.Namespace], tuple[Rows, list[str]]]] = {
    "captions": captions, "pictures": pictures, "ranking": ranking,
}  # fmt: skip
SMALL = {"captions": 4000, "pictures": 24, "candidates": 2000, "queries": 200, "rounds": 1}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print, and write the document that is returned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", default=",".join(PARTS))
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--pictures", type=int, default=512)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument(
        "--queries", type=int, help="queries timed, the rest is extrapolated; default 5000, on a GPU all"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="tiny", choices=tuple(SIZES))
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--smoke", action="store_true", help="smallest sizes: only shows that every part runs")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here; nothing was measured")
    if given.smoke:
        vars(given).update(SMALL)
    if given.queries is None:
        given.queries = given.candidates if given.device == "cuda" else min(5000, given.candidates)
    document: dict[str, Any] = {"machine": meter.machine(given.device), "smoke": given.smoke, "tables": []}
    meter.show("", [], [f"{key} {value}" for key, value in document["machine"].items()])
    for name in given.what.split(","):
        rows, notes = PARTS[name](given)
        meter.show(name, rows, notes)
        document["tables"].append({"part": name, "rows": rows, "notes": notes})
        meter.write(given.out, document)
    return document


if __name__ == "__main__":
    main()
