"""Proves a merge: the run, and what was written, encode the same test captions, and the features are compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, Corpus, LanguageCaptions, Split
from xpet.core.config import DataConfig, EvalConfig, FitConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError, XpetError
from xpet.core.events import Notice, OnEvent, Progress
from xpet.core.feature_difference import feature_difference, tolerance, unit_features
from xpet.core.languages import UNDETERMINED
from xpet.jobs.merge.formats.base import MergeJob
from xpet.jobs.results.merge import Verification
from xpet.jobs.shared import measure
from xpet.jobs.shared.foreign_modules import foreign_changes
from xpet.jobs.shared.run_records import check_base, check_captions
from xpet.jobs.shared.test_captions import measurement_settings, read_test_captions
from xpet.jobs.shared.towers import features_of, text_alone, text_path, with_images

if TYPE_CHECKING:
    from torch import Tensor, nn

    from xpet.models.checkpoint import LoadedText


@dataclass(frozen=True)
class MeasuredData:
    """The data of a proof: names of the towers, the data set, its corpus and the test captions."""

    model: ModelConfig
    data: DataConfig
    corpus: Corpus
    test: Split


@dataclass(frozen=True)
class RunFeatures:
    """What the run computes before it is merged, and the captions it was computed on."""

    captions: Mapping[str, LanguageCaptions]
    slots: Mapping[str, str]
    """Language -> slot of the texts that are encoded."""
    images: Tensor | None
    """Features of the test images [images, d]; None where they are not at hand."""
    features: Mapping[str, Tensor]
    """Language -> unit features [captions, d], float64."""
    recall: Mapping[str, float]
    """Language -> R@1 in percent; empty without images."""
    tolerance: float
    """Largest length of the difference between two unit features that is allowed."""
    device: str


def encode_run(job: MergeJob, on_event: OnEvent) -> RunFeatures:
    """Encode the test captions of the job's languages, and the English ones, with its base and module.

    Raises DataError naming --no-verify when the captions cannot be read any more, ModelError for another base.
    """
    from xpet.methods.table import is_whole_tower
    from xpet.models.checkpoint import load_text_tower
    from xpet.training.device import make_engine

    data = tested_captions(job, on_event)
    device = str(make_engine(job.config.device, "fp32").device)
    delta, whole = job.mapped(), is_whole_tower(job.record.method)
    text = load_text_tower(text_path(data.model.text), trained=delta if whole else None)
    images = _images(job, data, text, device, on_event)
    slots = {**_compared(job), **({PIVOT: "target"} if PIVOT in data.test.captions else {})}
    captions = {language: data.test.captions[language].complete((slot,)) for language, slot in slots.items()}
    settings: Any = text.tower.transformer.config
    allowed = tolerance(job.config.dtype, settings.num_hidden_layers, settings.hidden_size)
    with _run_tower(text.tower, job, delta, whole, device) as tower:
        features = _encode(measure.encoder(tower, text.tokenizer), captions, slots, "unmerged", on_event)
    recall = _recall(features, captions, slots, images)
    return RunFeatures(captions, slots, images, _units(features, "unmerged"), recall, allowed, device)


@contextmanager
def _run_tower(
    base: nn.Module, job: MergeJob, delta: Mapping[str, Tensor], whole: bool, device: str
) -> Iterator[nn.Module]:
    """For the block, the tower of the run: the base with its module; `base` itself if the `whole` tower was trained.

    A module made elsewhere changes the weights by its format's own formula, so that the proof covers how it was read.
    """
    from xpet.methods.build import build_stack

    changes = foreign_changes(job.path) if job.config.combine is None else None
    if whole:
        yield base.to(device)
    elif changes is not None:
        yield _changed(base, changes, job).to(device)
    else:
        stack = build_stack(base, job.record.method, [job.record.run.seed]).to(device)
        stack.load(0, delta)
        with stack.one(0):
            yield stack.tower


def _changed(tower: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor]], job: MergeJob) -> nn.Module:
    """The tower with changed weights; raises ModelError for a weight it does not have, or of another shape."""
    import torch

    state = tower.state_dict()
    with torch.no_grad():
        for name, change in changes.items():
            if name not in state:
                raise ModelError(f"{job.path}: expected changes of weights of the base, found one of {name}")
            try:
                state[name].copy_(change(state[name]))
            except RuntimeError:
                shape = tuple(state[name].shape)
                raise ModelError(f"{job.path}: expected a change of {name} {shape}, found another shape") from None
    return tower


def compare(run: RunFeatures, encode: measure.Encode, on_event: OnEvent) -> Verification:
    """Encode the same captions by what was written; raises ModelError when the features differ too much."""
    features = _encode(encode, run.captions, run.slots, "merged", on_event)
    difference = feature_difference(_units(features, "merged"), run.features)
    if not difference.relative <= run.tolerance:
        raise ModelError(
            f"the merged tower does not compute what the run does: expected unit features that differ by at most "
            f"{run.tolerance:.1e}, found {difference.relative:.1e}; nothing was written: try --dtype fp32, or report "
            "it, please"
        )
    merged = _recall(features, run.captions, run.slots, run.images)
    return Verification(
        difference.texts, difference.absolute, difference.relative, run.tolerance, run.recall, merged
    )  # fmt: skip


def _compared(job: MergeJob) -> dict[str, str]:
    """Language -> slot of the texts to compare on; a module of unknown language is compared on German captions."""
    return {"de" if language == UNDETERMINED else language: slot for language, slot in job.searched.items()}


def tested_captions(job: MergeJob, on_event: OnEvent) -> MeasuredData:
    """Towers, data, corpus and test captions of the runs; raises DataError, naming --no-verify, if they changed."""
    model, fit = ModelConfig(job.config.model), FitConfig(device=job.config.device)
    data = DataConfig(name="", root=job.config.data_root)
    config = EvalConfig(job.config.runs, tuple(_compared(job)), model, data, fit=fit, texts=())
    try:
        model, data, images, needed = measurement_settings(config, job.runs)
        corpus, test, _ = read_test_captions(config, data, images, needed, on_event)
        check_captions(test, job.runs)
    except (ConfigError, DataError) as error:
        raise DataError(f"{error}; --no-verify merges without comparing on the run's test captions") from error
    return MeasuredData(model, data, corpus, test)


def _images(job: MergeJob, data: MeasuredData, text: LoadedText, device: str, on_event: OnEvent) -> Tensor | None:
    """Features of the test images [images, d], or None with a notice when they are not at hand.

    Raises ModelError for another base than the runs'.
    """
    missing: XpetError | None = None
    try:
        towers = with_images(text, data.model, data.data.image_features)
    except (ModelError, DataError) as error:
        towers, missing = text_alone(text, data.model), error
    check_base(towers, job.runs)
    try:
        if missing is None:
            return features_of(data.corpus, [data.test], towers, data.data, device, on_event)[0]
    except (ModelError, DataError) as error:
        missing = error
    on_event(Notice(f"R@1 is not compared: {missing}"))
    return None


def _encode(
    encode: measure.Encode,
    captions: Mapping[str, LanguageCaptions],
    slots: Mapping[str, str],
    stage: str,
    on_event: OnEvent,
) -> dict[str, Tensor]:
    """Language -> features [captions, d]."""
    features = {}
    for done, (language, slot) in enumerate(slots.items(), start=1):
        features[language] = encode(captions[language].slot(slot))
        on_event(Progress(stage, done, len(slots), language))
    return features


def _units(features: Mapping[str, Tensor], which: str) -> dict[str, Tensor]:
    """Language -> unit features [captions, d]; raises ModelError where that is impossible."""
    units = {language: unit_features(rows) for language, rows in features.items()}
    wrong = [language for language, rows in units.items() if not rows.isfinite().all()]
    if wrong:
        raise ModelError(f"the {which} tower gives features that are not finite for {', '.join(wrong)}: train again")
    return units


def _recall(
    features: Mapping[str, Tensor],
    captions: Mapping[str, LanguageCaptions],
    slots: Mapping[str, str],
    images: Tensor | None,
) -> dict[str, float]:
    """Language -> R@1 in percent; empty without images [images, d]."""
    if images is None:
        return {}
    return {
        name: measure.recall(lambda texts, rows=rows: rows, captions[name], slots[name], images)  # type: ignore[misc]
        for name, rows in features.items()
    }
