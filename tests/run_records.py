"""A record of a run with made-up figures, for tests of what is written and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from torch import Tensor

from xpet.core.config import DataConfig, FitPlan, MethodConfig, ModelConfig, RunConfig
from xpet.core.run_record import RunEnvironment, RunMetrics, RunRecord, SplitNames


def run_record(delta: Mapping[str, Tensor]) -> RunRecord:
    """A run of Japanese with these tensors."""
    run = RunConfig("ja", learning_rate=1e-3)
    metrics = RunMetrics(
        **asdict(run), status="ok", chosen_step=20, validation={"val_mrr": 1 / 3}, target_before=30.5,
        translated_before=None, aligned=41.25, english_before=60.0, english_after=59.5, seconds=2.5, folder="runs/ja",
        trainable=19, stored=100, total=1000, share=1.9, peak_memory=512.0,
    )  # fmt: skip
    environment = RunEnvironment(
        versions={"xpet": "0.1.0", "torch": "2.13.0"}, device="cpu", precision="fp32",
        towers={"text": "demo", "image": "demo"}, fingerprints={"text": "ab12", "image": None},
        data={"captions.ja": "cd34"}, test_captions="ef56",
    )  # fmt: skip
    return RunRecord(
        run, ModelConfig("demo"), DataConfig("table", "自転車"), MethodConfig(modules=("query", "value")), FitPlan(),
        delta, [{"step": 0, "val_mrr": 1 / 3}, {"step": 20, "val_mrr": 0.1}], metrics, environment,
        SplitNames(("a.jpg",), (), ("ü.jpg", "c.jpg")),
    )  # fmt: skip
