"""Pre-trains the demo's towers: pictures with English first, then every language by distillation.

Called by `xpet.demo.build`; nothing here runs in normal use.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from xpet.demo import world
from xpet.demo.gradient_step import gradient_step
from xpet.demo.pictures import draw
from xpet.demo.scenes import (
    ACTIONS,
    BACKGROUNDS,
    COLOURS,
    KINDS,
    LAYOUTS,
    MOST,
    PATTERNS,
    WEATHERS,
    Scene,
    describe,
)
from xpet.demo.tokenizer import SPECIAL_TOKENS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from xpet.models.text_tower import TextTower

Say = Callable[[Scene, random.Random], str]
MASKED, HIDDEN = 0.2, 0.85
"""Share of pieces to be guessed in the masked-language phase, and of these that are hidden; the others stay."""


def draw_all(scenes: Sequence[Scene], workers: int = 2) -> np.ndarray:
    """Pictures of all scenes, uint8 [scenes, 64, 64, 3], drawn by several processes."""
    with ProcessPoolExecutor(workers) as pool:
        return np.stack(list(pool.map(draw, scenes, chunksize=256)))


def pixels(pictures: np.ndarray) -> Tensor:
    """uint8 [rows, 64, 64, 3] to the float pixels [rows, 3, 64, 64] the image tower takes."""
    values = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    return (values - world.PIXEL_MEAN) / world.PIXEL_STD


FACTS = {
    name: number
    for number, name in enumerate((
        *((kind, colour) for kind in KINDS for colour in COLOURS), *KINDS, *COLOURS, *PATTERNS, *ACTIONS, *BACKGROUNDS,
        *WEATHERS, *LAYOUTS, *range(2, MOST + 1),
    ))
}  # fmt: skip
"""What a picture may show, and its place in the image tower's extra target."""


def facts(scene: Scene) -> np.ndarray:
    """1 for each of FACTS that a scene shows, else 0: float32 [facts], the image tower's extra target."""
    shown: list[object] = [scene.layout, scene.background, scene.weather]
    for g in scene.groups:
        shown += [(g.kind, g.colour), g.kind, g.colour, g.pattern, g.action, g.count]
    present = np.zeros(len(FACTS), np.float32)
    present[[FACTS[name] for name in shown if name in FACTS]] = 1
    return present


def tokenise(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and mask, [rows, longest], of a fast tokenizer with padding switched on."""
    encoded = tokenizer.encode_batch(list(texts))
    ids = torch.tensor([e.ids for e in encoded])
    return ids, torch.tensor([e.attention_mask for e in encoded])


def encode_in_buckets(tower: nn.Module, tokenizer: Tokenizer, texts: Sequence[str], size: int = 64) -> Tensor:
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
    tokenizer: Tokenizer,
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


@dataclass(frozen=True)
class Read:
    """What a tower reads of one language in one round: captions, and the teacher's embeddings [captions, d] of them.

    `share` is the language's weight among all captions of the round.
    """

    share: float
    captions: Sequence[str]
    embeddings: Tensor


def masked_language(
    student: TextTower,
    tokenizer: Tokenizer,
    captions: Callable[[random.Random], str],
    steps: int,
    rate: float = 2e-3,
    batch: int = 256,
    seed: int = world.SEED,
    log: Callable[[str], None] = print,
) -> None:
    """Teach the student in place to fill in masked pieces of captions in every language, as XLM-R was made.

    A fifth of the pieces is to be guessed, most of them hidden. The head that guesses is thrown away.

    Args:
        student: the tower to train.
        tokenizer: its tokenizer, with padding switched on.
        captions: draws a caption in any language.
        steps: updates.
        rate: highest learning rate.
        batch: captions a step.
        seed: of captions and masks drawn.
        log: gets a line every 100 steps.
    """
    torch.manual_seed(seed)
    rng, words = random.Random(seed), student.transformer.get_input_embeddings().weight  # type: ignore[operator]
    width = words.shape[1]
    guess = nn.Linear(width, len(words))
    guess.weight = words
    head = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.LayerNorm(width), guess)
    parameters = list(dict.fromkeys((*student.transformer.parameters(), *head.parameters())))
    optimiser = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.01)
    schedule = _schedule(optimiser, steps, warm_up=steps // 5)
    for step in range(steps):
        drawn = sorted((captions(rng) for _ in range(batch)), key=len)
        losses = [_guesses(student, head, *tokenise(tokenizer, drawn[i : i + 64])) for i in range(0, batch, 64)]
        loss = torch.cat(losses).mean()
        gradient_step(loss, parameters, optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            log(f"masked pieces, step {step} loss {loss.item():.3f}")


def _guesses(student: TextTower, head: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Loss [guessed pieces] of hidden pieces among ids [rows, length] with their 0/1 mask; special ones stay."""
    guessed = (torch.rand(ids.shape) < MASKED) & (mask == 1) & (ids >= len(SPECIAL_TOKENS))
    hidden = guessed & (torch.rand(ids.shape) < HIDDEN)
    shown = ids.masked_fill(hidden, SPECIAL_TOKENS.index("<mask>"))
    states = student.transformer(input_ids=shown, attention_mask=mask)[0]
    return functional.cross_entropy(head(states[guessed]), ids[guessed], reduction="none")


def distillation(
    student: TextTower,
    tokenizer: Tokenizer,
    read: Sequence[Read],
    steps: int,
    rate: float = 2e-3,
    batch: int = 256,
    seed: int = world.SEED,
    log: Callable[[str], None] = print,
) -> None:
    """Teach the student in place to give captions of each language the teacher's embedding of the English ones.

    Mean squared error to the frozen teacher, as Multilingual-CLIP was made.

    Args:
        student: the tower to train.
        tokenizer: its tokenizer, with padding switched on.
        read: the captions of each language, and how often they are drawn.
        steps: updates.
        rate: highest learning rate.
        batch: captions a step.
        seed: of languages and captions drawn.
        log: gets a line every 100 steps.
    """
    rng = random.Random(seed)
    optimiser = torch.optim.AdamW(student.parameters(), lr=rate, weight_decay=0.0)
    schedule = _schedule(optimiser, steps, warm_up=min(60, steps // 5))
    for step in range(steps):
        languages = rng.choices(read, [language.share for language in read], k=batch)
        drawn = [(language, rng.randrange(len(language.captions))) for language in languages]
        target = torch.stack([language.embeddings[i] for language, i in drawn])
        features = encode_in_buckets(student, tokenizer, [language.captions[i] for language, i in drawn])
        loss = (features - target).square().mean() / target.square().mean()
        gradient_step(loss, student.parameters(), optimiser, schedule)
        if step % 100 == 0 or step == steps - 1:
            log(f"distillation, step {step} error {loss.item():.4f}")
