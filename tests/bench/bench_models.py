"""Texts and pictures a second of each model family, beside its own library's plain loop in the same process.

    python -m tests.bench.bench_models [--size tiny|small] [--texts 512] [--pictures 64] [--rounds 5] [--smoke]
        [--out FILE.json]

Random checkpoints in the published layout: `tiny` is 32 x 2, `small` 384 x 6 where the sample can be made so. The plain
loop is transformers' (or sentence-transformers') own class and tokenizer, in batches in the order of the texts, padded
to the longest of a batch or to the family's fixed length. Both are loaded before the clock starts, and
measured in turns. For OpenCLIP and NLLB-CLIP, of which only texts are timed, the loop is transformers' encoder with the
pooling and the head that open_clip has. `--clock cpu` counts CPU seconds of one thread,
for a machine that others use, too.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tests.bench import meter
from tests.models import published
from tests.tiny import WORDS
from xpet.core.captions import in_language
from xpet.models.checkpoint import load_text_tower
from xpet.models.encode import encode_texts
from xpet.models.image_tower import load_image_tower

BATCH = 64
SMALL = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6}
FAMILIES = (
    "sentence-transformers", "OpenCLIP", "NLLB-CLIP", "AltCLIP", "Chinese-CLIP", "SigLIP", "SigLIP 2", "MetaCLIP 2",
    "CLIP",
)  # fmt: skip
OF_SIZE = ("AltCLIP", "Chinese-CLIP", "MetaCLIP 2")
"""Samples that take another size."""
LENGTHS = {
    "AltCLIP": 48, "Chinese-CLIP": 52, "MetaCLIP 2": 24, "CLIP": 77, "SigLIP": 12, "SigLIP 2": 12,
    "OpenCLIP": 40, "NLLB-CLIP": 40,
}  # fmt: skip
"""Tokens of a text at most, as the samples say."""
FIXED = ("SigLIP", "SigLIP 2")
"""Families whose texts are all padded to that length, without a mask."""


def captions(count: int) -> list[str]:
    """Texts of 5 to 20 words, always the same."""
    rng, words = random.Random(0), WORDS.split()
    return [" ".join(rng.choices(words, k=rng.randint(5, 20))) for _ in range(count)]


def plain_texts(name: str, folder: Path) -> Callable[[Sequence[str]], Any]:
    """The plain loop of the family's own library over texts."""
    if name == "sentence-transformers":
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
        return lambda texts: model.encode(list(texts), batch_size=BATCH, show_progress_bar=False)
    if name in ("OpenCLIP", "NLLB-CLIP"):
        return plain_parts(name, folder)
    from transformers import AutoTokenizer

    own: Any = published._model(published.SAMPLES[name].whole, folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    is_fixed = name in FIXED
    options = {"truncation": True, "max_length": LENGTHS[name], "padding": "max_length" if is_fixed else True}

    def loop(texts: Sequence[str]) -> None:
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                batch = tokenizer(list(texts[start : start + BATCH]), return_tensors="pt", **options)
                mask = {} if is_fixed else {"attention_mask": batch["attention_mask"]}
                own.get_text_features(input_ids=batch["input_ids"], **mask)

    return loop


def plain_parts(name: str, folder: Path) -> Callable[[Sequence[str]], Any]:
    """The plain loop over texts of transformers' encoder and the head of open_clip's layout."""
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    is_nllb = name == "NLLB-CLIP"
    encoder, head = published.nllb_text() if is_nllb else published.open_clip_text()
    state = load_file(folder / "open_clip_model.safetensors")
    state.pop("text.transformer.embeddings.position_ids", None)
    encoder.load_state_dict(published._part(state, "text.transformer."))
    head.load_state_dict(published._part(state, "text.proj."))
    encoder.eval()
    tokenizer: Any = (
        AutoTokenizer.from_pretrained(folder, src_lang="deu_Latn")
        if is_nllb
        else PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>")
    )
    options = {"truncation": True, "max_length": LENGTHS[name], "padding": True, "return_tensors": "pt"}

    def loop(texts: Sequence[str]) -> None:
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                batch = tokenizer([published.clean(text) for text in texts[start : start + BATCH]], **options)
                ids, mask = batch["input_ids"], batch["attention_mask"]
                states = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
                weights = mask.unsqueeze(-1)
                head(states[:, 0] if is_nllb else (states * weights).sum(1) / weights.sum(1))

    return loop


def plain_pictures(name: str, folder: Path) -> Callable[[Sequence[Any]], Any]:
    """The plain loop of the family's own class over pictures."""
    from transformers import AutoImageProcessor

    own: Any = published._model(published.SAMPLES[name].whole, folder)
    processor: Any = AutoImageProcessor.from_pretrained(folder)

    def loop(pictures: Sequence[Any]) -> None:
        with torch.inference_mode():
            for start in range(0, len(pictures), BATCH):
                pixels = processor(images=list(pictures[start : start + BATCH]), return_tensors="pt")
                own.get_image_features(pixel_values=pixels["pixel_values"])

    return loop


def compared(items: Sequence[Any], ways: dict[str, Callable[[Sequence[Any]], Any]], rounds: int) -> tuple[float, float]:
    """Items a second of xpet, and how many times that of the plain loop: medians of rounds in turns."""
    for way in ways.values():
        way(items[:BATCH])  # what is set up once
    timed = {name: partial(meter.seconds, partial(way, items)) for name, way in ways.items()}
    found = meter.in_turns(timed, rounds)
    return len(items) / statistics.median(found["xpet"]), meter.ratio(found["plain"], found["xpet"])


def measure(name: str, folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """One row: a family's texts, and pictures where both halves are in its checkpoint."""
    from PIL import Image

    published.SAMPLES[name].make(folder)
    loaded = load_text_tower(folder)
    language = published.SAMPLES[name].language
    written = in_language(captions(given.texts), language) if language else captions(given.texts)
    texts = {
        "xpet": lambda items: encode_texts(loaded.tower, loaded.tokenizer, items, BATCH),
        "plain": plain_texts(name, folder),
    }
    rate, times = compared(written, texts, given.rounds)
    row: dict[str, Any] = {"family": name, "texts/s": rate, "x plain": times}
    if loaded.has_image and published.SAMPLES[name].whole:
        image = load_image_tower(folder)
        pictures = [Image.new("RGB", (200, 150), (i % 256, 40, 90)) for i in range(given.pictures)]
        ways = {"xpet": lambda items: image.encode(items), "plain": plain_pictures(name, folder)}
        row["pictures/s"], row["x plain, pictures"] = compared(pictures, ways, given.rounds)
    return row


def main(arguments: list[str] | None = None) -> list[dict[str, Any]]:
    """Measure, print, and write the rows that are returned."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="tiny", choices=("tiny", "small"))
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", default="wall", choices=("wall", "cpu"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--smoke", action="store_true", help="few of all: only shows that it runs")
    given = parser.parse_args(arguments)
    if given.smoke:
        given.texts, given.pictures, given.rounds = 8, 4, 1
    meter.use_clock(given.clock)
    if given.clock == "cpu":
        torch.set_num_threads(1)
    if given.size == "small":
        published.SHAPE.update(SMALL)
        published.VISION.update(SMALL)
    names = FAMILIES if given.size == "tiny" else OF_SIZE
    document: dict[str, Any] = {"machine": meter.machine("cpu"), "size": given.size, "rows": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            document["rows"].append(measure(name, Path(folder) / name, given))
            meter.write(given.out, document)
    meter.show(f"encoding, {given.size}", document["rows"], [f"{k} {v}" for k, v in document["machine"].items()])
    return document["rows"]  # type: ignore[no-any-return]


if __name__ == "__main__":
    main()
