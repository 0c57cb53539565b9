"""CLIP image towers: loading from whole-CLIP or vision-only checkpoints, pre-processing, encoding, saving."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.core.files import write_folder
from xpet.core.pictures import VERSION, rgb
from xpet.core.transfer import fetch, send, stacked
from xpet.models.families import family_of
from xpet.models.families.base import CONFIG, OpenImage, document
from xpet.models.families.clip_vision import SETTINGS, VISION_ALONE, open_image
from xpet.models.families.unknown import explained, is_known, without_image
from xpet.models.hub import checkpoint_folder
from xpet.models.precision import computing, precision_on
from xpet.models.preprocessing import CHANNELS, canonical_processing, cut, image_processor, read_processing
from xpet.models.weights import (
    fill,
    fingerprint,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class LoadedImage:
    """A frozen image tower in eval mode with its pre-processing."""

    tower: nn.Module
    processor: Any
    """transformers' image processor."""
    fingerprint: str
    """SHA-256 (hex) of the weights."""
    preprocessing: str
    """All settings of the pre-processing, as sorted JSON."""
    stored: Mapping[str, Tensor] = field(default_factory=dict)
    """The weights by name as they were loaded, on the CPU; those of a float32 file are mapped, not in memory twice."""

    def key_on(self, device: str | torch.device = "cpu", precision: str = "auto") -> str:
        """SHA-256 (hex) of what features of a picture depend on besides the picture.

        That is the weights, the pre-processing, how pictures become RGB, and the precision computed in on the device.
        Raises ConfigError for a precision that is not known.
        """
        parts = (self.fingerprint, self.preprocessing, f"pictures {VERSION}", precision_on(device, precision))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def dimensions(self) -> int:
        """Size of the shared image-text space."""
        return int(self.tower.visual_projection.out_features)  # type: ignore[union-attr, arg-type]

    def prepare(self, image: Image) -> Tensor:
        """A picture cut to the tower's size, [channels, height, width]; may be called from several threads at once.

        Still in bytes: `encode` scales them on the device, where that is cheap. Raises DataError for a picture that
        `rgb` cannot show.
        """
        return cut(self.processor, rgb(image, "in memory"))

    def release(self) -> None:
        """Free what the tower takes on a device: its weights are those on the CPU again, until it encodes again."""
        if self.stored:
            self.tower.load_state_dict(dict(self.stored), assign=True)
            self.tower.requires_grad_(False)

    def encode(
        self, images: Sequence[Image | Tensor], device: str | torch.device = "cpu", precision: str = "auto"
    ) -> Tensor:
        """Un-normalised features [images, dimensions], float32 on the CPU.

        The tower is moved to `device` and stays there until `release`.

        Args:
            images: pictures, or what `prepare` made of them.
            device: where to compute.
            precision: what to compute in: fp32 (true float32, no TF32), bf16, fp16, or auto, which is bf16 on CUDA
                and fp32 elsewhere.

        Raises:
            ConfigError: a precision that is not known, or that the device does not have.
            DataError: a picture that `rgb` cannot show.
            ModelError: numbers too large for fp16.
        """
        return self.start(images, device, precision)()

    def start(
        self, images: Sequence[Image | Tensor], device: str | torch.device = "cpu", precision: str = "auto"
    ) -> Callable[[], Tensor]:
        """Start what `encode` does; what is returned waits for the features [images, dimensions] and gives them.

        A GPU is given all its work, for which the host does not wait: it can start the next pictures meanwhile.
        """
        where, used = torch.device(device), precision_on(device, precision)
        if not images:
            return lambda: torch.empty((0, self.dimensions))
        self.tower.to(where)
        pixels = [image if isinstance(image, Tensor) else self.prepare(image) for image in images]
        scaled = self._scaled(stacked(pixels, where))
        with computing(where, used):
            features = self.tower(pixel_values=scaled).image_embeds.float()
        arrived = fetch(features)

        def result() -> Tensor:
            found: Tensor = arrived().clone()
            if used == "fp16" and not found.isfinite().all():
                raise ModelError(
                    "image tower: expected finite features in fp16, found numbers too large; use bf16 or fp32"
                )
            return found

        return result

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Pixels [images, channels, height, width], rescaled and normalised as the pre-processing says, float32."""
        settings = json.loads(self.preprocessing)
        pixels = pixels.float()
        if settings["do_rescale"]:
            pixels = pixels * settings["rescale_factor"]
        if settings["do_normalize"]:
            mean, std = (
                send(torch.tensor(settings[name], dtype=torch.float32).view(-1, 1, 1), pixels.device)
                for name in ("image_mean", "image_std")
            )
            pixels = (pixels - mean) / std
        return pixels


def load_image_tower(name_or_path: str | Path, allow_download: bool = True) -> LoadedImage:
    """An image tower (float32) from a checkpoint of a family that has one, or of CLIP, a local folder or a hub name.

    Raises ModelError for a checkpoint that is missing, damaged, of another layout, or whose tensors do not fit exactly.
    """
    folder = checkpoint_folder(name_or_path, allow_download)
    opened = _opened(folder)
    side = _side(opened.tower, folder)
    processing = read_processing(folder, side) if opened.processing is None else opened.processing
    fill(opened.tower, opened.tensors, torch.float32, folder, opened.shown)
    processor = image_processor(processing)
    settings, stored = json.dumps(processing, sort_keys=True), dict(opened.tower.state_dict())
    return LoadedImage(opened.tower, processor, fingerprint(opened.tensors), settings, stored)


def _opened(folder: Path) -> OpenImage:
    """The image tower of a folder, checked; raises ModelError, saying what the folder holds in its place."""
    family = family_of(folder)
    if family.image is not None:
        return family.image(folder)
    if document(folder).get("model_type") == VISION_ALONE or (folder / CONFIG).is_file() and not document(folder):
        return open_image(folder)
    raise without_image(folder, family) if is_known(folder) else explained(folder, "an image tower")


def _side(tower: nn.Module, folder: Path) -> int:
    """Height and width of the pictures a tower takes; raises ModelError when they are not of three channels."""
    config: Any = tower.config
    if config.num_channels != CHANNELS:
        raise ModelError(
            f"{folder}: expected an image tower for pictures of {CHANNELS} channels (RGB), found num_channels "
            f"{config.num_channels}"
        )
    return int(config.image_size)


def save_image_tower(folder: str | os.PathLike[str], tower: nn.Module, processor: Any) -> None:
    """Write config.json, model.safetensors and preprocessor_config.json of a vision-only checkpoint.

    `processor` is a LoadedImage's, or a mapping of its settings. The folder must be new or empty (OutputError
    otherwise) and appears complete or not at all.
    """
    config: Any = tower.config
    document = {
        "architectures": ["CLIPVisionModelWithProjection"],
        "model_type": "clip_vision_model",
        "projection_dim": config.projection_dim,
        **{key: getattr(config, key) for key in SETTINGS},
    }
    settings = canonical_processing(processor if isinstance(processor, Mapping) else processor.to_dict())

    def write(stage: Path) -> None:
        write_json(stage / "config.json", document)
        write_tensors(stage / "model.safetensors", tower)
        write_json(stage / "preprocessor_config.json", {**settings, "image_processor_type": "CLIPImageProcessor"})

    write_folder(folder, write)


def empty_image_tower(**settings: Any) -> nn.Module:
    """A randomly initialised CLIP image tower of the given settings (transformers' CLIPVisionConfig arguments)."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    tower: nn.Module = CLIPVisionModelWithProjection(CLIPVisionConfig(**settings))
    return tower
