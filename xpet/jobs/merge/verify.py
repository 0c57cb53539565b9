"""The proof of a merge: real captions encoded by the run as `xpet eval` does, and by the merged checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xpet.core.captions import PIVOT, Corpus, LanguageCaptions, Split
from xpet.core.config import DataConfig, EvalConfig, FitConfig, ModelConfig
from xpet.core.errors import ConfigError, DataError, ModelError, XpetError
from xpet.core.events import Notice, OnEvent, Progress
from xpet.core.languages import UNDETERMINED
from xpet.jobs.merge.formats.base import Task
from xpet.jobs.results.merge import Verification
from xpet.jobs.shared import measure
from xpet.jobs.shared.foreign_modules import foreign_changes
from xpet.jobs.shared.run_records import check_base, check_captions
from xpet.jobs.shared.test_captions import measurement_settings, read_test_captions
from xpet.jobs.shared.towers import features_of, text_alone, text_path, with_images

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from xpet.models.checkpoint import LoadedText

MARGIN = 4.0
"""How much larger than expected a difference may be."""
FLOAT32 = 2.0**-24
ROUNDOFF = {"fp32": FLOAT32, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest relative error of rounding one number to a type."""


def tolerance(dtype: str, layers: int, width: int) -> float:
    """Largest length that the difference of two unit features may have.

    Every matrix a text passes adds an error relative to what passes through it: the rounding of its weights to the
    stored type, and that of float32 sums of `width` products taken in another order (a random walk: sqrt(width)). The
    LayerNorms between keep the scale, and independent errors add up as the root of their number: six matrices a layer,
    the embeddings and the head. Four times that is allowed.
    """
    matrices = 6 * layers + 2
    return MARGIN * math.sqrt(matrices) * (ROUNDOFF[dtype] + math.sqrt(width) * FLOAT32)


@dataclass(frozen=True)
class Unmerged:
    """What the run computes: unit features [captions, d] by language, and R@1 where there are `images` [images, d]."""

    captions: Mapping[str, LanguageCaptions]
    slots: Mapping[str, str]
    images: Tensor | None
    features: Mapping[str, Tensor]
    recall: Mapping[str, float]
    tolerance: float
    device: str


def unmerged(task: Task, on_event: OnEvent) -> Unmerged:
    """Encode the runs' test captions, and the English ones, by its base and module.

    Raises DataError naming --no-verify when the captions cannot be read any more, ModelError for another base.
    """
    from xpet.methods.table import is_whole_tower
    from xpet.models.checkpoint import load_text_tower
    from xpet.training.device import make_engine

    model, data, corpus, test = tested_captions(task, on_event)
    device = str(make_engine(task.config.device, "fp32").device)
    delta, whole = task.mapped(), is_whole_tower(task.record.method)
    text = load_text_tower(text_path(model.text), trained=delta if whole else None)
    images = _images(task, (model, data, corpus, test), text, device, on_event)
    slots = {**_searched(task), **({PIVOT: "target"} if PIVOT in test.captions else {})}
    captions = {name: test.captions[name].complete((slots[name],)) for name in slots}
    settings: Any = text.tower.transformer.config
    allowed = tolerance(task.config.dtype, settings.num_hidden_layers, settings.hidden_size)
    with nullcontext(text.tower.to(device)) if whole else _with_module(text.tower, task, delta, device) as tower:
        features = _encode(measure.encoder(tower, text.tokenizer), captions, slots, "unmerged", on_event)
    found = _recall(features, captions, slots, images)
    return Unmerged(captions, slots, images, _units(features, "unmerged"), found, allowed, device)


@contextmanager
def _with_module(tower: nn.Module, task: Task, delta: Mapping[str, Tensor], device: str) -> Iterator[nn.Module]:
    """The base with the module that is merged; of one made elsewhere as its own formula has it, not as it was read."""
    from xpet.methods.build import build_stack

    own = foreign_changes(task.path) if task.config.combine is None else None
    if own is not None:
        yield _changed(tower, own, task).to(device)
        return
    stack = build_stack(tower, task.record.method, [task.record.run.seed]).to(device)
    stack.load(0, delta)
    with stack.one(0):
        yield stack.tower


def _changed(tower: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor]], task: Task) -> nn.Module:
    """The tower with changed weights; raises ModelError for a weight it does not have, or of another shape."""
    import torch

    state = tower.state_dict()
    with torch.no_grad():
        for name, change in changes.items():
            if name not in state:
                raise ModelError(f"{task.path}: expected changes of weights of the base, found one of {name}")
            try:
                state[name].copy_(change(state[name]))
            except RuntimeError:
                shape = tuple(state[name].shape)
                raise ModelError(f"{task.path}: expected a change of {name} {shape}, found another shape") from None
    return tower


def compare(before: Unmerged, encode: measure.Encode, on_event: OnEvent) -> Verification:
    """Encode the same captions by what was written; raises ModelError when the features differ too much."""
    features = _encode(encode, before.captions, before.slots, "merged", on_event)
    units = _units(features, "merged")
    gaps = [units[name] - before.features[name] for name in before.slots]
    absolute = max(float(gap.abs().max()) for gap in gaps)
    relative = max(float(gap.norm(dim=1).max()) for gap in gaps)
    if not relative <= before.tolerance:
        raise ModelError(
            f"the merged tower does not compute what the run does: expected unit features that differ by at most "
            f"{before.tolerance:.1e}, found {relative:.1e}; nothing was written: try --dtype fp32, or report it, please"
        )
    texts = sum(map(len, gaps))
    merged = _recall(features, before.captions, before.slots, before.images)
    return Verification(texts, absolute, relative, before.tolerance, before.recall, merged)


def _searched(task: Task) -> dict[str, str]:
    """Language -> slot of the texts to compare on; a module made elsewhere has no data: the demo's, in German."""
    return {"de" if name == UNDETERMINED else name: slot for name, slot in task.searched.items()}


Data = tuple[ModelConfig, DataConfig, Corpus, Split]


def tested_captions(task: Task, on_event: OnEvent) -> Data:
    """Towers, data, corpus and test captions of the runs; raises DataError naming --no-verify when they changed."""
    model, fit = ModelConfig(task.config.model), FitConfig(device=task.config.device)
    place = DataConfig(name="", root=task.config.data_root)
    asking = EvalConfig(task.config.runs, tuple(_searched(task)), model, place, fit=fit, texts=())
    try:
        model, data, names, needed = measurement_settings(asking, task.runs)
        corpus, test, _ = read_test_captions(asking, data, names, needed, on_event)
        check_captions(test, task.runs)
    except (ConfigError, DataError) as error:
        raise DataError(f"{error}; --no-verify merges without comparing on the run's test captions") from error
    return model, data, corpus, test


def _images(task: Task, data: Data, text: LoadedText, device: str, on_event: OnEvent) -> torch.Tensor | None:
    """Features of the test images, or None with a notice when they are not at hand; the base is checked, too."""
    model, config, corpus, test = data
    missing: XpetError | None = None
    try:
        towers = with_images(text, model, config.image_features)
    except (ModelError, DataError) as error:
        towers, missing = text_alone(text, model), error
    check_base(towers, task.runs)
    try:
        if missing is None:
            return features_of(corpus, [test], towers, config, device, on_event)[0]
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
    features = {}
    for done, (language, slot) in enumerate(slots.items(), start=1):
        features[language] = encode(captions[language].slot(slot))
        on_event(Progress(stage, done, len(slots), language))
    return features


def _units(features: Mapping[str, Tensor], which: str) -> dict[str, Tensor]:
    """Features of length 1; raises ModelError where that is impossible."""
    units = {name: rows.double() / rows.double().norm(dim=1, keepdim=True) for name, rows in features.items()}
    wrong = [name for name, rows in units.items() if not rows.isfinite().all()]
    if wrong:
        raise ModelError(f"the {which} tower gives features that are not finite for {', '.join(wrong)}: train again")
    return units


def _recall(
    features: Mapping[str, Tensor],
    captions: Mapping[str, LanguageCaptions],
    slots: Mapping[str, str],
    images: Tensor | None,
) -> dict[str, float]:
    """R@1 in percent by language; empty without images."""
    if images is None:
        return {}
    return {
        name: measure.recall(lambda texts, rows=rows: rows, captions[name], slots[name], images)  # type: ignore[misc]
        for name, rows in features.items()
    }
