"""Small files that ask for any amount of memory, and what reads them: python -m tests.hostile.bombs FOLDER.

Prints a line of JSON for each: the error that ended it, the memory it took at most (MiB), and the seconds.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import pickle
import resource
import struct
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

Case = tuple[Callable[[Path], object], Callable[[Path], object]]
"""What makes a file in a folder, and what reads it."""
MIB = 1 << 20
ROOM = 1536 * MIB
"""Address space that a bomb may ask for: far more than it may take, and far less than it would."""


def packed(name: str, block: bytes, mebibytes: int = 1024, first: bytes = b"") -> Callable[[Path], object]:
    """A compressed file that begins with `first`, then has a block again and again."""
    compress = bz2.compress if name.endswith("bz2") else gzip.compress
    piece = compress(block * (MIB // len(block)))
    return lambda folder: (folder / name).write_bytes((compress(first) if first else b"") + piece * mebibytes)


def sparse(name: str, size: int = 10 << 30) -> Callable[[Path], object]:
    """A file of 10 GB of zero bytes, which take no place on the disk."""

    def make(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return make


def corpus(name: str, column: str | None = None) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from xpet.data.text_corpus import read_texts

        return sum(1 for _ in read_texts([str(folder / name)], column, english=False))

    return read


def table(name: str, data: str = "table") -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from xpet.core.config import DataConfig
        from xpet.jobs.shared.corpus import read_corpus

        return read_corpus(DataConfig(data, str(folder / name)))

    return read


def multi30k(folder: Path) -> None:
    from tests.fuzz.doors import DOORS

    DOORS["multi30k"].make(folder)
    packed("raw/train.de.gz", b"ein Hund\n")(folder)


def translate(folder: Path) -> object:
    from tests.fuzz.doors import DOORS

    DOORS["translate.txt"].make(folder)
    sparse("in.txt")(folder)
    return DOORS["translate.txt"].read(folder)


def parquet(kind: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        import pyarrow
        from pyarrow import parquet

        numbers = pyarrow.array([0] * 20_000, pyarrow.int32())
        text = pyarrow.DictionaryArray.from_arrays(numbers, ["a" * 100_000])
        if kind == "list":
            text = pyarrow.ListArray.from_arrays(pyarrow.array([0, 20_000], pyarrow.int32()), text)
        if kind == "cell":
            text = pyarrow.array(["a" * (100 * MIB)])
        columns = {"image": text, "lang": text, "caption": text} if kind == "table" else {"text": text}
        small = kind != "cell"  # else it takes seconds to find that the cell is like no other
        parquet.write_table(
            pyarrow.table(columns), folder / "a.parquet", compression="zstd", use_dictionary=small,
            write_statistics=small,
        )  # fmt: skip

    return make


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, depth: int = 1, colour: int = 0) -> Callable[[Path], object]:
    """A black PNG of some size, whose rows are packed as well as can be, with more chunks in front of them."""

    def make(folder: Path) -> None:
        row = b"\0" * (1 + width * depth * {0: 1, 2: 3, 6: 4}[colour] // 8)
        squeeze = zlib.compressobj()
        body = b"".join(squeeze.compress(row) for _ in range(min(height, 2000))) + squeeze.flush()
        head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
        (folder / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
        )

    return make


def frames(folder: Path) -> None:
    """An animation of many large frames, of which the first is what counts."""
    from PIL import Image

    image = Image.new("P", (2000, 2000))
    out = io.BytesIO()
    image.save(out, "GIF", save_all=True, append_images=[Image.new("P", (2000, 2000), n % 200) for n in range(3)])
    data = out.getvalue()
    start = data.index(b"\x21\xf9")
    (folder / "a.gif").write_bytes(data[:start] + data[start:-1] * 100 + b";")


def picture(name: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        from xpet.data.images import FolderPictures

        return FolderPictures((folder,)).open(name).size

    return read


def text_chunk(kind: bytes) -> bytes:
    body = zlib.compress(b"a" * (200 * MIB))
    return chunk(kind, b"name\0\0" + body if kind != b"iTXt" else b"name\0\1\0\0\0" + body)


def archive(change: Callable[[bytes], bytes] = bytes, packing: int = zipfile.ZIP_DEFLATED, size: int = 100) -> Any:
    """A package whose model is zero bytes; `change` forges the archive."""

    def make(folder: Path) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", packing) as file:
            file.writestr("de_en/metadata.json", "{}")
            file.writestr("de_en/model/model.bin", bytes(size * MIB))
        (folder / "a.argosmodel").write_bytes(change(out.getvalue()))

    return make


def says(size: int) -> Callable[[bytes], bytes]:
    """A forger: the list of members gives the model another size."""

    def change(data: bytes) -> bytes:
        at = data.rindex(b"PK\1\2")
        return data[: at + 24] + struct.pack("<I", size) + data[at + 28 :]

    return change


def members(count: int) -> Callable[[Path], object]:
    """An archive with a list of very many members."""

    def make(folder: Path) -> None:
        entry = b"PK\1\2" + bytes(24) + struct.pack("<H", 7) + bytes(16) + b"de_en/x"
        end = b"PK\5\6" + bytes(4) + struct.pack("<HHII", 65535, 65535, len(entry) * count, 0) + b"\0\0"
        (folder / "a.argosmodel").write_bytes(entry * count + end)

    return make


def install(folder: Path) -> object:
    from xpet.translation.install import install

    return install([folder / "a.argosmodel"], folder / "installed")


class _Bytes:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (8 << 30,)


def state(kind: str) -> Callable[[Path], object]:
    """A PyTorch file of a few bytes."""

    def make(folder: Path) -> None:
        import torch

        made = {"lora_A": torch.zeros(1).expand(1 << 20, 1 << 20) if kind == "expanded" else torch.zeros(4, 4)}
        old = kind == "old"
        torch.save(made, folder / "sound", _use_new_zipfile_serialization=not old)
        harm = pickle.dumps({"a": _Bytes()}, 2)
        if old:
            (folder / "a.ckpt").write_bytes((folder / "sound").read_bytes().replace(b"}q\x00", harm[2:-1], 1))
            return
        packing = zipfile.ZIP_DEFLATED if kind == "packed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(folder / "sound") as sound, zipfile.ZipFile(folder / "a.ckpt", "w", packing) as file:
            for name in sound.namelist():
                file.writestr(name, harm if kind == "bytes" and name.endswith("data.pkl") else sound.read(name))

    return make


def tensors(folder: Path) -> object:
    from xpet.methods.tensorfile import read_tensors

    return read_tensors(next(folder.glob("a.*")))


def header(size: int, text: bytes = b"") -> Callable[[Path], object]:
    return lambda folder: (folder / "a.safetensors").write_bytes(struct.pack("<Q", size) + text)


def array(folder: Path) -> None:
    """A NumPy file whose header claims a terabyte."""
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 262144), }"
    text += b" " * (117 - len(text)) + b"\n"
    (folder / "features.npy").write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(text)) + text + bytes(64))


def features(folder: Path) -> object:
    from xpet.data.features import read_features

    return read_features(folder / "features.npy", 1_000_000)


ROWS = b"a.png,de,ein Hund\n"
CASES: dict[str, Case] = {
    "corpus: a line of a gibibyte": (packed("a.txt.gz", b"a"), corpus("a.txt.gz")),
    "corpus: blank lines": (packed("a.txt.bz2", b"a dog" * 20 + b"\n"), corpus("a.txt.bz2")),
    "corpus: rows": (packed("a.csv.gz", b"ein Hund" * 20 + b"\n", first=b"text\n"), corpus("a.csv.gz", "text")),
    "corpus: 10 GB without an end of line": (sparse("a.txt"), corpus("a.txt")),
    "corpus: text that is numbered": (parquet("numbered"), corpus("a.parquet", "text")),
    "corpus: lists of text that is numbered": (parquet("list"), corpus("a.parquet", "text")),
    "corpus: a cell": (parquet("cell"), corpus("a.parquet", "text")),
    "table: rows": (packed("a.csv.gz", ROWS, first=b"image,lang,caption\n"), table("a.csv.gz")),
    "table: text that is numbered": (parquet("table"), table("a.parquet")),
    "table: a line": (packed("a.jsonl.gz", b"{"), table("a.jsonl.gz")),
    "table: a row of many lines": (
        packed("a.csv.gz", b'"\n",', 10, first=b"image,lang,caption\n"), table("a.csv.gz")
    ),
    "table: 10 GB without an end of line": (sparse("a.tsv"), table("a.tsv")),
    "captions, one a line": (multi30k, table("", "multi30k")),
    "a file to translate": (lambda folder: None, translate),
    "picture: a square of 30,000": (png(30_000, 30_000), picture("a.png")),
    "picture: a line of two billion": (png(2_000_000_000, 1), picture("a.png")),
    "picture: a packed remark": (png(8, 8, text_chunk(b"zTXt")), picture("a.png")),
    "picture: an international remark": (png(8, 8, text_chunk(b"iTXt")), picture("a.png")),
    "picture: a packed colour profile": (png(8, 8, text_chunk(b"iCCP")), picture("a.png")),
    "picture: many frames": (frames, picture("a.gif")),
    "package: zero bytes": (archive(), install),
    "package: more than any package": (archive(says(3 << 30), size=1), install),
    "package: more than its list says": (archive(says(1000)), install),
    "package: a packing that asks for memory": (archive(packing=zipfile.ZIP_LZMA, size=1), install),
    "package: a list of 400,000 members": (members(400_000), install),
    "PyTorch: a bytearray": (state("bytes"), tensors),
    "PyTorch: a bytearray in the old format": (state("old"), tensors),
    "PyTorch: packed": (state("packed"), tensors),
    "PyTorch: one number a trillion times": (state("expanded"), tensors),
    "safetensors: a header of 8 exabytes": (header(1 << 63), tensors),
    "safetensors: a header nested deeply": (header(MIB, b"[" * MIB), tensors),
    "NumPy: a shape of a terabyte": (array, features),
}  # fmt: skip


def _status(name: str) -> int:
    """Bytes that /proc says of this process."""
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{name}:")[1].split()[0])


def _run(read: Callable[[Path], object], folder: Path) -> dict[str, Any]:
    """Read in a fork, so that each begins anew: what came of it."""
    out, into = os.pipe()
    if (child := os.fork()) == 0:
        try:
            limit = _status("VmSize") + ROOM
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            Path("/proc/self/clear_refs").write_text("5")
            before, start = _status("VmRSS"), time.monotonic()
            try:
                told: dict[str, Any] = {"read": repr(read(folder))[:80]}
            except BaseException as error:
                told = {"error": type(error).__name__, "text": str(error)[:600]}
            told |= {"mebibytes": (_status("VmHWM") - before) // MIB, "seconds": time.monotonic() - start}
            os.write(into, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(into)
    with open(out, "rb") as file:
        data = file.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(data) if data else {"error": f"ended with {status}", "text": ""}


def explode(scratch: Path, names: Collection[str] = ()) -> None:
    """Make and read every bomb, or some; see the module."""
    warnings.simplefilter("ignore")
    import xpet.data.features
    import xpet.jobs.shared.corpus
    import xpet.methods.tensorfile
    import xpet.translation.install  # noqa: F401 - what all cases need is loaded once

    for number, (name, (make, read)) in enumerate(CASES.items()):
        if names and name not in names:
            continue
        folder = scratch / str(number)
        folder.mkdir(parents=True)
        make(folder)
        size = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
        print(json.dumps({"name": name, "stored": size, **_run(read, folder)}), flush=True)  # noqa: T201


if __name__ == "__main__":
    explode(Path(sys.argv[1]), sys.argv[2:])
