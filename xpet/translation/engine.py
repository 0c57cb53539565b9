"""What a translator is, and the translator of Argos packages, which CTranslate2 runs in large batches."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from xpet.core.errors import ModelError
from xpet.translation.argos import load_package
from xpet.translation.device import LIBRARY_REMEDY, device_index, give_up, use_of
from xpet.translation.lines import without_breaks
from xpet.translation.packages import Installed

BEAM = 4  # Argos' own setting, as are the next three
LENGTH_PENALTY = 0.2
MAX_SOURCE = 1024  # pieces; CTranslate2's defaults
MAX_TARGET = 256
LEAST_BATCH = 512  # tokens of a batch, below which a GPU that lacks memory is given up


@dataclass(frozen=True)
class Hypothesis:
    """A translation; `cut` says that the text or its translation reached the length limit.

    `score` is the log-probability in nats, normalised by length; it compares within an n-best list (0 at beam 1).
    """

    text: str
    cut: bool = False
    score: float = 0.0


class Translator(Protocol):
    """One hop of a chain. A translation depends on the text and on `identity` alone, not on the rest of its batch."""

    @property
    def source(self) -> str:
        """Code of the language translated from."""

    @property
    def target(self) -> str:
        """Code of the language translated to."""

    @property
    def identity(self) -> str:
        """Digest of what a translation depends on besides the text: model, options, device."""

    def best(self, texts: Sequence[str]) -> list[Hypothesis]:
        """The best translation of each text; texts have no line breaks and are not blank."""

    def alternatives(self, texts: Sequence[str]) -> list[list[Hypothesis]]:
        """Several translations of each text, the best first."""


class _SearchResult(NamedTuple):
    """CTranslate2's result for a text; `cut` says that the text was too long to be read whole."""

    result: Any
    cut: bool


class ArgosTranslator:
    """Translates by an installed package, whose model is loaded for the first text: not if all are in the cache.

    With `on_fallback`, a GPU on which CTranslate2 fails is left for the CPU, of which it is told. Then `device`, and
    with it `identity`, are others than before: those of all that was translated.
    """

    def __init__(
        self, package: Installed, fingerprint: str, beam: int = BEAM, device: str = "cpu",
        on_fallback: Callable[[str], None] | None = None,
    ) -> None:  # fmt: skip
        self.package = package
        self.fingerprint = fingerprint
        self.beam = beam
        self.device = device
        self.on_fallback = on_fallback
        self._batch_tokens = use_of(device).batch_tokens
        self._n_best: dict[str, _SearchResult] = {}  # n-best lists of the last call, by text

    @property
    def source(self) -> str:
        """Code of the language translated from."""
        return self.package.source

    @property
    def target(self) -> str:
        """Code of the language translated to."""
        return self.package.target

    @property
    def identity(self) -> str:
        """Digest of the package, the options, the device with its type of numbers, and the limits of this module."""
        device = self.device if self.device == "cpu" else f"{self.device} {use_of(self.device).compute_type}"
        facts = [self.fingerprint, self.beam, device, BEAM, LENGTH_PENALTY, MAX_SOURCE, MAX_TARGET]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def best(self, texts: Sequence[str]) -> list[Hypothesis]:
        """The best translation of each text, as Argos' own API gives it. Raises ModelError.

        With Argos' beam the search makes the n-best lists anyway: they are kept for `alternatives` until the next call.
        """
        searches = self._search(texts, self.beam)
        self._n_best = searches if self.beam == BEAM else {}
        return [self._hypotheses(text, searches[text], 1)[0] for text in texts]

    def alternatives(self, texts: Sequence[str]) -> list[list[Hypothesis]]:
        """The n-best list of each text at Argos' beam, even where `beam` is 1. Raises ModelError."""
        others = [text for text in texts if text not in self._n_best]
        if others:
            kept = {text: self._n_best[text] for text in texts if text in self._n_best}
            self._n_best = kept | self._search(others, BEAM)
        return [self._hypotheses(text, self._n_best[text], BEAM) for text in texts]

    @cached_property
    def _argos(self) -> Any:
        return load_package(self.package.folder)

    @cached_property
    def _model(self) -> Any:
        import ctranslate2

        use = use_of(self.device)
        try:
            return ctranslate2.Translator(
                str(self.package.folder / "model"),
                device=self.device,
                device_index=device_index(self.device),
                compute_type=use.compute_type,
                inter_threads=use.workers,
                intra_threads=1,
            )
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"package {self.package.folder}: CTranslate2 cannot load its model: {error}") from error

    def _search(self, texts: Sequence[str], beam: int) -> dict[str, _SearchResult]:
        """CTranslate2's results by text, in pieces of the tokenizer; only hypotheses that are used are made text."""
        tokens = self._tokens(texts)
        results = self._results(tokens, beam)
        cut = [len(pieces) > MAX_SOURCE for pieces in tokens]
        return dict(zip(texts, map(_SearchResult, results, cut), strict=True))

    def _tokens(self, texts: Sequence[str]) -> list[list[str]]:
        """The pieces of each text; SentencePiece cuts all of them in one call, on all cores."""
        tokenizer = self._argos.tokenizer
        try:
            if hasattr(tokenizer, "lazy_processor"):
                pieces: list[list[str]] = tokenizer.lazy_processor().encode(list(texts), out_type=str)
                return pieces
            return [tokenizer.encode(text) for text in texts]
        except (RuntimeError, OSError) as error:
            raise ModelError(f"package {self.package.folder}: its tokenizer fails: {error}") from error

    def _results(self, tokens: list[list[str]], beam: int) -> list[Any]:
        """CTranslate2's result for each text; where a GPU fails, in smaller batches or on the CPU."""
        prefix = self._argos.target_prefix
        while True:
            try:
                found: list[Any] = self._model.translate_batch(
                    tokens,
                    target_prefix=[[prefix]] * len(tokens) if prefix else None,
                    replace_unknowns=True,
                    max_batch_size=self._batch_tokens,
                    batch_type="tokens",
                    beam_size=beam,
                    num_hypotheses=beam,  # free: with a length penalty the search always goes on to the last one
                    length_penalty=LENGTH_PENALTY,
                    max_input_length=MAX_SOURCE,
                    max_decoding_length=MAX_TARGET,
                    return_scores=beam > 1,
                )
                return found
            except ModelError as error:
                if not self._can_retry(str(error)):
                    raise
            except (RuntimeError, ValueError) as error:
                if not self._can_retry(str(error)):
                    remedy = "" if self.device == "cpu" else "; use --device cpu"
                    raise ModelError(f"package {self.package.folder}: CTranslate2 fails: {error}{remedy}") from error

    def _can_retry(self, failure: str) -> bool:
        """Prepare another try after CTranslate2 failed on a GPU; False where there is none."""
        if self.device == "cpu":
            return False
        if "out of memory" in failure and self._batch_tokens > LEAST_BATCH:
            self._batch_tokens //= 2
            return True
        if self.on_fallback is None:
            return False
        give_up(self.device)
        self.device = "cpu"
        self._batch_tokens = use_of(self.device).batch_tokens
        self.__dict__.pop("_model", None)
        remedy = LIBRARY_REMEDY if "libcublas" in failure else ""
        self.on_fallback(f"translating on the CPU, since CTranslate2 fails on the GPU ({failure}){remedy}")
        return True

    def _hypotheses(self, text: str, search: _SearchResult, count: int) -> list[Hypothesis]:
        result = search.result
        scores = result.scores or [0.0]
        return [
            Hypothesis(self._text(pieces, text), search.cut or len(pieces) >= MAX_TARGET, score)
            for pieces, score in zip(result.hypotheses[:count], scores[:count], strict=True)
        ]

    def _text(self, pieces: list[str], source: str) -> str:
        """The text of pieces, as Argos makes it, except that underscores stay if the source has some."""
        tokenizer = self._argos.tokenizer
        if "_" in source and hasattr(tokenizer, "lazy_processor"):
            text: str = tokenizer.lazy_processor().decode_pieces(pieces).replace("\u2581", " ")
        else:
            text = tokenizer.decode(pieces)
        prefix = self._argos.target_prefix
        if prefix:
            text = text.removeprefix(prefix)
        return without_breaks(text.removeprefix(" "))
