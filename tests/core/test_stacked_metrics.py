"""Many searches at once against one after another."""

from __future__ import annotations

import pytest
import torch

from xpet.core import stacked_metrics
from xpet.core.metrics import retrieval
from xpet.core.stacked_metrics import stacked_retrieval


def searches(count: int, images: int, texts: int, ties: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    if ties:  # few directions: many equal scores, exact in floating point
        axes = torch.eye(4, dtype=torch.float64)
        image = axes[torch.randint(4, (count, images), generator=generator)]
        text = axes[torch.randint(4, (count, texts), generator=generator)]
    else:
        image = torch.randn(count, images, 8, generator=generator, dtype=torch.float64)
        text = torch.randn(count, texts, 8, generator=generator, dtype=torch.float64)
    return image, text, torch.randint(images, (count, texts), generator=generator)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("cells", [10**6, 2 * 7 * 11, 1])  # at once, two at a time, one by one
def test_equals_one_search_after_another(monkeypatch: pytest.MonkeyPatch, ties: bool, cells: int) -> None:
    monkeypatch.setattr(stacked_metrics, "MOST_CELLS", cells)
    image, text, owner = searches(5, 7, 11, ties)
    found = stacked_retrieval(image, text, owner)
    alone = [retrieval(*one) for one in zip(image, text, owner, strict=True)]
    assert found.recall.tolist() == pytest.approx([one.recall for one in alone], abs=1e-12)
    assert found.mrr.tolist() == pytest.approx([one.mrr for one in alone], abs=1e-12)
    assert len({round(value, 6) for value in found.recall.tolist()}) > 1


def test_a_search_does_not_see_the_others() -> None:
    image, text, owner = searches(3, 6, 6, ties=False)
    before = stacked_retrieval(image, text, owner)
    text[1] = torch.nan
    after = stacked_retrieval(image, text, owner)
    assert after.recall[0] == before.recall[0]
    assert after.mrr[2] == before.mrr[2]


def test_searches_can_share_their_images() -> None:
    image, text, owner = searches(3, 6, 9, ties=False)
    shared = stacked_retrieval(image[:1], text, owner[:1])
    again = stacked_retrieval(image[:1].expand(3, -1, -1), text, owner[:1].expand(3, -1))
    assert shared.recall.tolist() == again.recall.tolist()


@pytest.mark.parametrize(("images", "texts"), [(7, 11), (40, 30), (1, 5)])
@pytest.mark.parametrize("kind", ["apart", "ties", "all the same"])
def test_without_waiting_for_the_device_figures_are_the_same(images: int, texts: int, kind: str) -> None:
    image, text, owner = searches(4, images, texts, kind == "ties")
    if kind == "all the same":
        image, text = torch.ones_like(image), torch.ones_like(text)
    waiting, found = (stacked_retrieval(image, text, owner, waits) for waits in (True, False))
    assert found.recall.tolist() == waiting.recall.tolist()
    tolerance = 0 if kind == "apart" else 1e-11
    assert found.mrr.tolist() == pytest.approx(waiting.mrr.tolist(), abs=tolerance)
