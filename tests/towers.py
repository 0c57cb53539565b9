"""Tiny float64 towers, random token rows and plain single-run training: the independent oracle for stacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from xpet.core.config import FitPlan, MethodConfig, RunConfig
from xpet.methods import bridge
from xpet.models.text_tower import TextTower
from xpet.training.batches import batch_order
from xpet.training.queue import RunData

VOCABULARY, HIDDEN, DIMENSIONS, LAYERS = 60, 64, 16, 2
METHOD_CONFIGS = {
    "lora": MethodConfig("lora", rank=4),
    "lora-scripts": MethodConfig(
        "lora", rank=1, modules=("query", "key", "value", "attention.output.dense"), train=("layernorm", "head")
    ),
    "adapter": MethodConfig("adapter", bottleneck=8),
    "compacter": MethodConfig("compacter", reduction=8),
    "bitfit": MethodConfig("bitfit"),
    "soft-prompt": MethodConfig("soft-prompt"),
    "full": MethodConfig("full"),
}
FITTED_CONFIGS = {"linear-map": MethodConfig("linear-map")}
"""Methods that are fitted in closed form: what they hold could be trained, but never is."""


def tower(dtype: torch.dtype = torch.float64, seed: int = 0, dropout: float = 0.1) -> TextTower:
    """A tiny random XLM-R tower; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        from transformers import XLMRobertaConfig, XLMRobertaModel

        config = XLMRobertaConfig(
            vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=96, num_hidden_layers=LAYERS,
            num_attention_heads=2, max_position_embeddings=40, type_vocab_size=1, initializer_range=0.2,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        )  # fmt: skip
        made = TextTower(XLMRobertaModel(config), DIMENSIONS)
    return made.to(dtype).eval().requires_grad_(False)


def pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, padded to the longest row."""
    longest = max(len(r) for r in rows)
    ids = torch.tensor([[*r, *[1] * (longest - len(r))] for r in rows])
    return ids, (ids != 1).long()


def texts(count: int, seed: int, longest: int = 12) -> list[list[int]]:
    """Random token rows of different lengths between <s> and </s>."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        length = int(torch.randint(1, longest, (1,), generator=generator))
        rows.append([0, *torch.randint(5, VOCABULARY, (length,), generator=generator).tolist(), 2])
    return rows


def run_data(seed: int, rows: int = 14, anchored: bool = True, longest: int = 12) -> RunData:
    """Random training and validation data of one run, in float64."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return RunData(
        student=texts(rows, seed, longest),
        anchor=texts(rows, seed + 100, longest) if anchored else None,
        image=torch.randn(rows, DIMENSIONS, generator=generator, dtype=torch.float64),
        val_text=texts(8, seed + 200, longest),
        val_image=torch.randn(8, DIMENSIONS, generator=generator, dtype=torch.float64),
        val_image_index=torch.arange(8),
    )


def plain_delta(model: TextTower, config: MethodConfig, seed: int) -> dict[str, nn.Parameter]:
    """Attach OpenDelta as its own users do and return the trained parameters by name."""
    torch.manual_seed(seed)
    backbone = model.transformer
    kinds: dict[str, Callable[[], object]] = {
        "lora": lambda: bridge.opendelta().LoraModel(
            backbone,
            lora_r=config.rank,
            lora_alpha=config.alpha,
            modified_modules=list(config.modules or ("query", "value")),
        ),
        "adapter": lambda: bridge.opendelta().AdapterModel(
            backbone, bottleneck_dim=config.bottleneck, modified_modules=["output.dense"]
        ),
        "compacter": lambda: bridge.opendelta().CompacterModel(
            backbone, reduction_factor=config.reduction, non_linearity="relu", modified_modules=["output.dense"]
        ),
        "bitfit": lambda: bridge.opendelta().BitFitModel(
            backbone.encoder, modified_modules=["attention", "intermediate", "output"]
        ),
    }
    kinds[config.name]()
    for name, p in model.named_parameters():
        if "output.LayerNorm" in name or ("head" in (config.train or ()) and "LinearTransformation" in name):
            p.requires_grad = True
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain_training(
    model: Callable[[Tensor, Tensor], Tensor],
    parameters: Sequence[nn.Parameter],
    run: RunConfig,
    data: RunData,
    fit: FitPlan,
    loss: Callable[[Tensor, Tensor | None, Tensor], Tensor],
) -> list[float]:
    """torch.optim.Adam with cosine decay, one run, two separate forwards; returns the loss of every step."""
    steps = fit.steps or 0
    optimiser = torch.optim.Adam(parameters, lr=run.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda t: 0.5 * (1 + math.cos(math.pi * t / steps)))
    values = []
    for batch in batch_order(len(data.student), fit.batch_size, steps, run.seed):
        student = model(*pad([data.student[i] for i in batch]))
        anchor = model(*pad([data.anchor[i] for i in batch])) if data.anchor is not None else None
        assert data.image is not None
        value = loss(data.image[batch], anchor, student)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        values.append(value.item())
    return values
