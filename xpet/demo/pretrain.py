"""Pre-trains the demo's towers: pictures with English first, then every language by distillation.

Called by `xpet.demo.build`; nothing here runs in normal use.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.core.metrics import retrieval
from xpet.demo import world
from xpet.demo.gradient_step import gradient_step
from xpet.demo.pictures import draw
from xpet.demo.scenes import COLOURS, KINDS, Message, Scene, describe

Say = Callable[[Scene, random.Random], str]


def draw_all(scenes: Sequence[Scene], workers: int = 2) -> np.ndarray:
    """Pictures of all scenes, uint8 [scenes, 64, 64, 3], drawn by several processes."""
    with ProcessPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(draw, scenes, chunksize=256)))


def pixels(pictures: np.ndarray) -> Tensor:
    """uint8 [rows, 64, 64, 3] to the float pixels [rows, 3, 64, 64] the image tower takes."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (values - world.PIXEL_MEAN) / world.PIXEL_STD


def facts(scene: Scene) -> np.ndarray:
    """1 for each pair of kind and colour that a scene shows, else 0: float32 [128], the image tower's extra target."""
    present = np.zeros((len(KINDS), len(COLOURS)), np.float32)
    for group in scene.groups:
        present[KINDS.index(group.kind), COLOURS.index(group.colour)] = 1
    return present.ravel()


def tokenise(tokenizer: object, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, [rows, longest], of a fast tokenizer with padding switched on."""
    encoded = tokenizer.encode_batch(list(texts))  # type: ignore[attr-defined]
    ids = torch.tensor([e.ids for e in encoded])
    return ids, torch.tensor([e.attention_mask for e in encoded])


def encode_in_buckets(tower: nn.Module, tokenizer: object, texts: Sequence[str], size: int = 64) -> Tensor:
    """Features [texts, d] in the texts' order, computed in batches of similar length so that little padding is read."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    parts = [tower(*tokenise(tokenizer, [texts[i] for i in order[s : s + size]])) for s in range(0, len(order), size)]
    positions = torch.empty(len(order), dtype=torch.long)
    positions[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[positions]


def _schedule(optimiser: torch.optim.Optimizer, steps: int, warm_up: int) -> torch.optim.lr_scheduler.LambdaLR:
    def factor(step: int) -> float:
        return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return torch.optim.lr_scheduler.LambdaLR(optimiser, factor)


def contrastive_pretraining(
    image_tower: nn.Module,
    text_tower: nn.Module,
    tokenizer: object,
    scenes: Sequence[Scene],
    say: Say,
    steps: int,
    batch: int = 192,
    seed: int = world.SEED,
    log: Callable[[str], None] = print,
) -> None:
    """Train both towers in place with CLIP's loss and, for the image tower, recognition of what is shown.

    The recognition head only speeds learning up and is thrown away. `say` writes the caption of a scene; `batch` counts
    pairs a step; `log` gets a line every 50 steps.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    log(f"drawing {len(scenes)} pictures")
    pictures, present = draw_all(scenes), torch.from_numpy(np.stack([facts(s) for s in scenes]))
    head = nn.Linear(image_tower.config.hidden_size, present.shape[1])  # type: ignore[union-attr, arg-type]
    log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
    parameters = [*image_tower.parameters(), *text_tower.parameters(), *head.parameters(), log_scale]
    optimiser = torch.optim.AdamW(parameters, lr=1.5e-3, weight_decay=0.02)
    schedule = _schedule(optimiser, steps, warm_up=100)
    image_tower.train(), text_tower.eval()
    started = time.monotonic()
    for step, rows in zip(range(steps), _batches(len(scenes), batch, rng), strict=False):
        captions = [say(scenes[i], rng) for i in rows]
        image, pooled = _embed_pictures(image_tower, pixels(pictures[rows]))
        text = encode_in_buckets(text_tower, tokenizer, captions)
        clip, hits = _contrastive_loss(image, text, log_scale)
        recognition = functional.binary_cross_entropy_with_logits(head(pooled), present[rows], reduction="sum") / batch
        gradient_step(clip + 0.3 * recognition, parameters, optimiser, schedule)
        if step % 50 == 0 or step == steps - 1:
            log(
                f"step {step} clip {clip.item():.3f} recognition {recognition.item():.3f} in-batch {hits:.2f} "
                f"scale {log_scale.exp().item():.0f} {time.monotonic() - started:.0f} s"
            )
    image_tower.eval()


def _batches(count: int, batch: int, rng: random.Random) -> Iterator[list[int]]:
    """Endless batches of indices below `count`, in a new order after each round; a round's rest is dropped."""
    while True:
        order = rng.sample(range(count), count)
        for start in range(0, max(1, count - batch + 1), batch):
            yield order[start : start + batch]


def _embed_pictures(tower: nn.Module, values: Tensor) -> tuple[Tensor, Tensor]:
    """Features [batch, d] and the normalised class token [batch, hidden] of pixels [batch, 3, 64, 64]."""
    output = tower(pixel_values=values, output_hidden_states=True)
    pooled: Tensor = tower.vision_model.post_layernorm(output.last_hidden_state[:, 0])  # type: ignore[union-attr, operator]
    return output.image_embeds, pooled


def _contrastive_loss(image: Tensor, text: Tensor, log_scale: Tensor) -> tuple[Tensor, float]:
    """CLIP's loss, a scalar, of features [batch, d] of pairs, and the share of pictures that find their caption."""
    scale = log_scale.exp().clamp(max=100.0)
    logits = scale * functional.normalize(image, dim=-1) @ functional.normalize(text, dim=-1).T
    target = torch.arange(len(image))
    loss = (functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)) / 2
    return loss, (logits.argmax(1) == target).float().mean().item()


def natural(say: Callable[..., str]) -> Say:
    """A caption writer for scenes out of a grammar for messages."""
    return lambda scene, rng: say(describe(scene, rng), rng)


def displacement(strength: float, number: int, scale: float, dimensions: int) -> Callable[[Tensor], Tensor]:
    """A fixed map of embeddings [rows, d] to where a weak language lies instead of beside English; seeded by `number`.

    It adds a random direction and mixes a random part of the embedding, of `world.DISPLACED_RANK` dimensions, into
    another one. Strength 0 changes nothing; 1 moves by about the length `scale` of an embedding.
    """
    generator = torch.Generator().manual_seed(number)
    direction = functional.normalize(torch.randn(dimensions, generator=generator), dim=0)
    source = torch.linalg.qr(torch.randn(dimensions, world.DISPLACED_RANK, generator=generator))[0]
    target = torch.linalg.qr(torch.randn(dimensions, world.DISPLACED_RANK, generator=generator))[0]
    return lambda x: x + strength * (x @ source @ target.T + scale * direction)


def displacement_to(level: float, number: int, image: Tensor, text: Tensor) -> tuple[float, Callable[[Tensor], Tensor]]:
    """Strength and map of the `displacement` after which texts [n, d] find images [n, d] with R@1 `level` (percent)."""
    scale, low, high = float(text.norm(dim=1).mean()), 0.0, 8.0

    def of_strength(strength: float) -> Callable[[Tensor], Tensor]:
        return displacement(strength, number, scale, text.shape[1])

    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if retrieval(image, of_strength(middle)(text)).recall > level else (low, middle)
    return low, of_strength(low)


def distillation(
    student: nn.Module,
    tokenizer: object,
    teacher: Callable[[Sequence[str]], Tensor],
    grammars: Mapping[str, Callable[[Message, random.Random], str]],
    messages: Sequence[Message],
    displacements: Mapping[str, Callable[[Tensor], Tensor]],
    steps: int,
    rate: float = 2e-3,
    batch: int = 256,
    seed: int = world.SEED,
    log: Callable[[str], None] = print,
) -> None:
    """Teach the student in place to give captions of any language the teacher's embedding of an English one.

    Mean squared error to the frozen teacher, as Multilingual-CLIP was made. Here the teacher's embedding is displaced
    for each language (`displacement`), so that a weak language is understood but lies in a cluster of its own.

    Args:
        student: the tower to train.
        tokenizer: its tokenizer, with padding switched on.
        teacher: embeddings [rows, d] of English captions.
        grammars: the caption writer of each language.
        messages: what captions say.
        displacements: the map of embeddings [rows, d] of each language.
        steps: updates.
        rate: highest learning rate.
        batch: captions a step.
        seed: of captions and languages drawn.
        log: gets a line every 100 steps.
    """
    torch.manual_seed(seed)
    rng = random.Random(seed)
    displace = list(displacements.values())
    speakers = [grammars[language] for language in displacements]
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.0)
    schedule = _schedule(optimiser, steps, warm_up=min(100, steps // 5))
    started = time.monotonic()
    for step in range(steps):
        drawn = sorted((rng.randrange(len(speakers)), rng.randrange(len(messages))) for _ in range(batch))
        embeddings = teacher([grammars["en"](messages[m], rng) for _, m in drawn])
        spoken = torch.tensor([language for language, _ in drawn])
        target = torch.cat([f(embeddings[spoken == n]) for n, f in enumerate(displace)])
        features = encode_in_buckets(student, tokenizer, [speakers[n](messages[m], rng) for n, m in drawn])
        loss = (features - target).square().mean() / target.square().mean()
        gradient_step(loss, student.parameters(), optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            log(f"step {step} error {loss.item():.4f} {time.monotonic() - started:.0f} s")
