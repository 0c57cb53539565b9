"""Image features: computed once per weights, preprocessing and picture contents, stored, and checked when read.

A store is a folder `<store>/<sha256(key)[:16]>/` of `part-*.safetensors` files. A part holds `features` [pictures, d]
float32 and, in its metadata, the key's hash, the picture digests row by row and a checksum of the tensor. Parts are
independent and written atomically, so an interrupted run resumes and several processes may write at once. The processes
of one command each encode a share of the pictures and then read the others' parts.
"""

from __future__ import annotations

import hashlib
import json
import os
import tokenize
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpet.core.captions import ImageSource
from xpet.core.errors import DataError, OutputError, listing, one_line
from xpet.core.events import Notice, OnEvent, Progress, ignore
from xpet.core.files import is_temporary, remove_abandoned, write_file
from xpet.core.json_files import parsed
from xpet.core.processes import ALONE, Processes
from xpet.core.regular_files import check_regular, open_regular

if TYPE_CHECKING:
    import PIL.Image
    from torch import Tensor

STAGE = "image features"
PART_PICTURES = 512
"""Pictures after which a part is written."""
NAME = "features"
"""Name of the tensor in a part."""
USER_NAME = "image_features"
"""Name of the tensor in a user's file, where that has several."""
NPY_MAGIC = b"\x93NUMPY"

WORKERS = min(16, os.cpu_count() or 1)
"""Threads that read pictures; Pillow decodes and resizes without the interpreter's lock."""

Prepare = Callable[["PIL.Image.Image"], Any]
"""A picture -> the input of the image tower, for example its pixels cut to size."""
Encode = Callable[[list[Any]], "Tensor | Callable[[], Tensor]"]
"""Pictures, prepared when there is a Prepare -> features [pictures, d], or what waits for them and gives them."""
BATCH, BATCH_ON_GPU = 64, 128
"""Pictures encoded at a time; more of them keep a GPU busy while the host starts the next."""
IN_FLIGHT = 3
"""Batches that were started and whose features are not waited for yet."""


def image_features(
    names: Sequence[str],
    pictures: ImageSource,
    encode: Encode,
    key: str,
    store: Path,
    batch_size: int = BATCH,
    on_event: OnEvent = ignore,
    prepare: Prepare | None = None,
    processes: Processes = ALONE,
) -> Tensor:
    """Features [names, d] float32 of the named pictures; those that are not in the store are computed and stored.

    Pictures are read and prepared by worker threads while the tower encodes those before them; at most three batches
    of prepared ones are in memory, and as many that a GPU was given.

    Args:
        names: pictures, in the order of the rows returned; may repeat.
        pictures: where the pixels and the content digests come from.
        encode: the frozen image tower, for what is not stored.
        key: fingerprint of weights and preprocessing; features of another key are never used.
        store: folder of all feature stores.
        batch_size: pictures encoded at a time.
        on_event: called with Progress of what is computed, and with a warning for every rejected part.
        prepare: applied to each picture by the thread that read it; like `pictures`, it is used by several threads.
        processes: those that share the work, and all call this; each returns all rows.

    Raises:
        DataError: no names, a picture is missing or unreadable, or encoding gives non-finite or misshapen features.
        OutputError: the store cannot be written.
    """
    import torch

    if not names:
        raise DataError("expected pictures to encode, found none")
    digests = _digests(names, pictures, processes)
    name_of = dict(zip(digests, names, strict=True))
    parts = _FeatureStore(store, key, on_event)
    computation = _FeatureComputation(pictures, prepare, encode, parts, batch_size, len(name_of))
    rows = _rows(name_of, parts, computation, processes)
    return torch.stack([rows[digest] for digest in digests])


def _digests(names: Sequence[str], pictures: ImageSource, processes: Processes) -> list[str]:
    """The content digest of each named picture; every process reads its share of the pictures."""
    with ThreadPoolExecutor(WORKERS) as pool:
        shares = processes.gather("the digests of pictures", list(pool.map(pictures.digest, processes.share(names))))
    return [shares[number % len(shares)][number // len(shares)] for number in range(len(names))]


def _rows(
    name_of: dict[str, str], store: _FeatureStore, computation: _FeatureComputation, processes: Processes
) -> dict[str, Tensor]:
    """A feature row [d] for each digest in `name_of` (digest -> picture): the stored one, else a computed one.

    What processes store they all read; where a store is not common to all, each also computes what it does not find.
    """
    stored = store.load(set(name_of))
    known = [digest in stored for digest in name_of] if processes.is_first else None
    found = processes.gather("the stored image features", known)[0]
    missing = {digest: name for (digest, name), there in zip(name_of.items(), found, strict=True) if not there}
    computed = computation.compute(missing, processes)
    widths = {len(row) for rows in (stored, computed) for row in islice(rows.values(), 1)}
    if len(set().union(*processes.gather("the image features", sorted(widths)))) > 1:
        store.warn(f"{store.folder}: expected as many dimensions as the image tower gives, found others")
        store.drop()
        present = {digest: name for digest, name in name_of.items() if digest not in missing}
        stored = computation.compute(present, processes)
        processes.barrier("the image features of other dimensions")
    rows = stored | computed
    rows |= store.load(name_of.keys() - rows.keys()) if len(rows) < len(name_of) else {}
    rest = {digest: name for digest, name in name_of.items() if digest not in rows}
    return rows | computation.compute(rest, ALONE)


def _share(missing: dict[str, str], batch_size: int, processes: Processes) -> dict[str, str]:
    """This process's part of the missing pictures, in batches of the same pictures as one process would encode."""
    items = list(missing.items())
    batches = [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
    return dict(item for batch in processes.share(batches) for item in batch)


@dataclass(frozen=True)
class _FeatureComputation:
    """Computes the features that are not stored, and stores them; `total` counts the distinct pictures requested."""

    pictures: ImageSource
    prepare: Prepare | None
    encode: Encode
    store: _FeatureStore
    batch_size: int
    total: int

    def compute(self, missing: dict[str, str], processes: Processes) -> dict[str, Tensor]:
        """Encode and store this process's share of missing pictures (digest -> name); returns their rows [d] by digest.

        Progress takes the other processes to be as far.
        """
        rows: dict[str, Tensor] = {}
        share = _share(missing, self.batch_size, processes)
        if not share:
            return rows
        pending: dict[str, Tensor] = {}
        done, stored = 0, self.total - len(missing)
        report = self.store.on_event
        report(Progress(STAGE, stored, self.total))
        for batch, features in self._encoded(map_ahead(self.prepared, share.items(), 2 * self.batch_size)):
            _check(features, len(batch), batch[0][1])
            pending |= {digest: row for (digest, _), row in zip(batch, features, strict=True)}
            done += len(batch)
            if len(pending) >= PART_PICTURES or done == len(share):
                self.store.save(pending)
                rows |= pending
                pending = {}
            report(Progress(STAGE, min(stored + done * processes.world, self.total), self.total))
        return rows

    def _encoded(self, prepared: Iterator[tuple[str, str, Any]]) -> Iterator[tuple[list[tuple[str, str]], Tensor]]:
        """Digests and names of batch after batch, with their features [batch, d].

        Of an encoder that only starts, the next batches are started before the features of one are waited for.
        """
        started: deque[tuple[list[tuple[str, str]], Tensor | Callable[[], Tensor]]] = deque()
        while batch := list(islice(prepared, self.batch_size)):
            features = self.encode([picture for _, _, picture in batch])
            started.append(([(digest, name) for digest, name, _ in batch], features))
            while len(started) > (IN_FLIGHT if callable(features) else 0):
                yield _awaited(*started.popleft())
        while started:
            yield _awaited(*started.popleft())

    def prepared(self, item: tuple[str, str]) -> tuple[str, str, Any]:
        """Digest, name and prepared picture of (digest, name)."""
        digest, name = item
        picture = self.pictures.open(name)
        return digest, name, picture if self.prepare is None else self.prepare(picture)


def _awaited(
    batch: list[tuple[str, str]], features: Tensor | Callable[[], Tensor]
) -> tuple[list[tuple[str, str]], Tensor]:
    """A batch with its features [batch, d], float32 on the CPU."""
    found = features() if callable(features) else features
    return batch, found.detach().float().cpu()


def map_ahead(function: Callable[[Any], Any], items: Iterable[Any], most: int) -> Iterator[Any]:
    """`map(function, items)`, in order, by worker threads that run at most `most` items ahead of the reader."""
    waiting: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= most:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _check(features: Tensor, count: int, name: str) -> None:
    """Raise DataError unless features are [count, d] and finite; `name` is the first picture's."""
    if features.ndim != 2 or len(features) != count:
        raise DataError(f"image tower: expected features [{count}, d], found shape {list(features.shape)}")
    if not features.isfinite().all():
        raise DataError(f"image tower: expected finite features, found others among {count} pictures from {name} on")


@dataclass
class _FeatureStore:
    """The folder with the parts of one key; `used` are the parts that rows were loaded from."""

    root: Path
    key: str
    on_event: OnEvent
    folder: Path = field(init=False)
    used: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.key = hashlib.sha256(self.key.encode()).hexdigest()
        self.folder = self.root / self.key[:16]

    def warn(self, text: str) -> None:
        """Report what is wrong with stored features, which are computed again."""
        self.on_event(Notice(f"image-feature store: {text}; computing these features again", "warning"))

    def load(self, requested: set[str]) -> dict[str, Tensor]:
        """Rows [d] of those requested digests that are stored; damaged parts are reported, removed and skipped."""
        rows: dict[str, Tensor] = {}
        for path in sorted(self.folder.glob("part-*.safetensors")):
            seen = _state(path)
            try:
                part = self._read(path, requested)
                size = {len(row) for row in (*part.values(), *rows.values())}
                if len(size) > 1:
                    raise ValueError("another number of dimensions than in other parts")
                rows |= part
                self.used += [path] if part else []
            except FileNotFoundError:
                continue
            except (ValueError, OSError, KeyError, TypeError, RuntimeError) as error:
                if _state(path) is None:  # removed by another process while torch, too, opened it
                    continue
                self.warn(f"{path}: expected sound features of this image tower, found {error}")
                if _state(path) == seen:  # else another process has put a sound one in its place
                    _remove(path)
        return rows

    def drop(self) -> None:
        """Remove the parts that rows were loaded from."""
        for path in self.used:
            _remove(path)

    def _read(self, path: Path, requested: set[str]) -> dict[str, Tensor]:
        """Requested rows [d] of a part by digest; raises ValueError or OSError saying what is wrong with the part."""
        from safetensors import SafetensorError, safe_open

        check_regular(path)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("key") != self.key:
                    raise ValueError("features of another tower or preprocessing")
                digests = parsed(metadata["digests"])
                if requested.isdisjoint(digests):
                    return {}
                features = file.get_tensor(NAME)
        except SafetensorError as error:
            raise ValueError(str(error)) from error
        if features.ndim != 2 or len(features) != len(digests) or str(features.dtype) != "torch.float32":
            raise ValueError(f"shape {list(features.shape)} {features.dtype} for {len(digests)} pictures")
        if metadata["checksum"] != _checksum(features):
            raise ValueError("contents that do not match their checksum")
        if not features.isfinite().all():
            raise ValueError("non-finite numbers")
        return {digest: row for digest, row in zip(digests, features, strict=True) if digest in requested}

    def save(self, rows: dict[str, Tensor]) -> None:
        """Write rows [d] by digest as one part, whole or not at all; raises OutputError when that is not possible."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import save

        features = torch.stack(list(rows.values())).contiguous()
        digests = json.dumps(list(rows))
        metadata = {"key": self.key, "digests": digests, "checksum": _checksum(features)}
        name = f"part-{hashlib.sha256(digests.encode()).hexdigest()[:16]}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            remove_abandoned(filter(is_temporary, self.folder.iterdir()))
            write_file(self.folder / name, save({NAME: features}, metadata))
        except (OSError, OutputError, SafetensorError) as error:
            raise OutputError(
                f"image-feature store {self.folder}: expected to write a part, found {error.__cause__ or error}; "
                "set XPET_CACHE to a writable folder"
            ) from error


def _checksum(features: Tensor) -> str:
    """SHA-256 (hex) of the numbers of a tensor of any shape."""
    return hashlib.sha256(features.contiguous().numpy().tobytes()).hexdigest()


def _state(path: Path) -> tuple[int, ...] | None:
    """What tells a file from another that takes its place; None where there is none."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _remove(path: Path) -> None:
    """Remove a file if that is possible."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return


def read_features(path: Path, expected_images: int) -> Tensor:
    """A user's own image features [expected_images, d] as float32, one row per image in the corpus' order.

    The file is `.npy`, or `.safetensors` with a single tensor or one named `image_features`; of any float type.

    Raises:
        DataError: missing, damaged or of another kind; not 2-D, another number of rows, or non-finite.
    """
    if path.suffix not in READERS:
        raise DataError(f"image features {path}: expected {' or '.join(READERS)}, found '{path.suffix}'")
    if not path.is_file():
        raise DataError(f"image features {path}: expected a file, found none")
    features = READERS[path.suffix](path)
    if not features.is_floating_point():
        raise DataError(f"image features {path}: expected floating-point numbers, found {features.dtype}")
    if features.ndim != 2 or len(features) != expected_images or not features.shape[1]:
        raise DataError(
            f"image features {path}: expected shape [{expected_images}, d], found {list(features.shape)}; "
            "give one row per image, in the order of the data set"
        )
    features = features.float()
    rows = int((~features.isfinite().all(dim=1)).sum())
    if rows:
        raise DataError(f"image features {path}: expected finite numbers, found {rows} rows with others")
    return features


def _read_safetensors(path: Path) -> Tensor:
    """The tensor, of whatever shape, of a user's .safetensors file; raises DataError."""
    from safetensors import SafetensorError, safe_open

    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            name = names[0] if len(names) == 1 else USER_NAME
            if name not in names:
                raise DataError(
                    f"image features {path}: expected one tensor or one named {USER_NAME}, found "
                    f"{listing(names) or 'none'}"
                )
            tensor: Tensor = file.get_tensor(name)
            return tensor
    except (SafetensorError, OSError) as error:
        raise DataError(
            f"image features {path}: expected a readable safetensors file, found {one_line(error)}"
        ) from error


def _read_npy(path: Path) -> Tensor:
    """The array, of whatever shape, of a user's .npy file; raises DataError."""
    import numpy
    import torch

    try:
        with open_regular(path) as file:
            if not (magic := file.read(len(NPY_MAGIC))).startswith(NPY_MAGIC):  # NumPy would advise to unpickle it
                raise ValueError("an archive (.npz)" if magic.startswith(b"PK") else f"a file that begins {magic!r}")
        array: Any = numpy.load(path, allow_pickle=False)
        native = array.dtype.newbyteorder("=")  # torch knows no other
        return torch.from_numpy(numpy.asarray(array, native, order="C"))
    except tokenize.TokenError as error:  # the header is Python
        raise DataError(f"image features {path}: expected an .npy file of numbers, found a damaged header") from error
    except Exception as error:  # whatever NumPy makes of a damaged file
        raise DataError(f"image features {path}: expected an .npy file of numbers, found {one_line(error)}") from error


READERS: dict[str, Callable[[Path], Tensor]] = {".safetensors": _read_safetensors, ".npy": _read_npy}
