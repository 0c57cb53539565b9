"""Both sides of the benchmark on a whole data set in one process, each in its own precision."""

from __future__ import annotations

import itertools

import pytest
import torch

from tests.bench.align_full import PeftScript
from tests.bench.align_runs import Options
from tests.bench.ours import Ours, fit_config
from xpet.core.config import RunConfig

pytest.importorskip("peft")


@pytest.mark.parametrize("order", itertools.permutations(("fp32", "bf16")), ids="-".join)
def test_each_side_has_its_own_precision_whatever_was_measured_before(
    order: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """accelerate's state is the process's: what came first would decide for what comes later."""
    seen: list[torch.dtype] = []
    plain = torch.nn.functional.linear

    def linear(*arguments: torch.Tensor) -> torch.Tensor:
        seen.append(plain(*arguments).dtype)
        return plain(*arguments)

    run = RunConfig("de", "routine1")
    for precision in order:
        options = Options(precision=precision, smoke=True)
        setting = options.setting(rows=4, validation=2)
        ours = Ours(setting, options.config, precision)
        script = PeftScript(options, ours.images(), run)
        assert script.accelerator.mixed_precision == {"fp32": "no", "bf16": "bf16"}[precision]
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(torch.nn.functional, "linear", linear)
                assert script.train(2, 1) > 0
            assert set(seen) == {{"fp32": torch.float32, "bf16": torch.bfloat16}[precision]}
            seen.clear()
            assert ours.engine.accelerator.mixed_precision == "no"
            assert ours.fit([run], fit_config(2, 1), validation=2) > 0
