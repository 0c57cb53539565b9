"""CLIP image towers: loading from whole-CLIP or vision-only checkpoints, pre-processing, encoding, saving."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xpet.core.errors import ModelError
from xpet.models.hub import checkpoint_folder
from xpet.models.weights import (
    fill,
    fingerprint,
    one_line,
    read_json,
    read_tensors,
    without_position_ids,
    write_folder,
    write_json,
    write_tensors,
)

if TYPE_CHECKING:
    from PIL.Image import Image

_MODEL_KEYS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "image_size",
    "patch_size", "hidden_act", "layer_norm_eps", "attention_dropout",
)  # fmt: skip
_SWITCHES = ("do_convert_rgb", "do_resize", "do_center_crop", "do_rescale", "do_normalize")
_PROCESSORS = (
    "CLIPFeatureExtractor", "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil",
)  # fmt: skip
_TEXT_HALF = ("text_model.", "text_projection.", "logit_scale")
_MEAN, _STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
_PURPOSE = "a CLIP image tower"


@dataclass(frozen=True)
class LoadedImage:
    """A frozen image tower in eval mode with its pre-processing.

    `preprocessing` spells the pre-processing out as sorted JSON; `key` stands for weights and pre-processing together.
    """

    tower: nn.Module
    processor: Any
    fingerprint: str
    preprocessing: str

    @property
    def key(self) -> str:
        """SHA-256 (hex) of weights and pre-processing: what features of a picture depend on besides the picture."""
        return hashlib.sha256(f"{self.fingerprint}\n{self.preprocessing}".encode()).hexdigest()

    @property
    def dimensions(self) -> int:
        """Size of the shared image-text space."""
        return int(self.tower.visual_projection.out_features)  # type: ignore[union-attr, arg-type]

    def prepare(self, image: Image) -> Tensor:
        """A picture cut to the tower's size, [channels, height, width]; may be called from several threads at once.

        Still in bytes where the pre-processing allows: `encode` scales them on the device, where that is cheap.
        """
        found = self.processor(images=[image], return_tensors="pt", do_rescale=False, do_normalize=False)
        cut: Tensor = found["pixel_values"][0]
        return cut

    def encode(self, images: Sequence[Image | Tensor], device: str | torch.device = "cpu") -> Tensor:
        """Un-normalised features [images, dimensions], float32 on the CPU; computed in bfloat16 on CUDA devices only.

        Takes pictures or what `prepare` made of them. The tower is moved to `device` and stays there.
        """
        if not images:
            return torch.empty((0, self.dimensions))
        where = torch.device(device)
        self.tower.to(where)
        cut = torch.stack([image if isinstance(image, Tensor) else self.prepare(image) for image in images])
        if where.type == "cuda":
            cut = cut.pin_memory()
        pixels = self._scaled(cut.to(where, non_blocking=True))
        with torch.inference_mode(), torch.autocast(where.type, torch.bfloat16, enabled=where.type == "cuda"):
            features = self.tower(pixel_values=pixels).image_embeds
        result: Tensor = features.float().cpu().clone()
        return result

    def _scaled(self, pixels: Tensor) -> Tensor:
        """Rescaling and normalisation as the pre-processing says, [images, channels, height, width] float32."""
        settings = json.loads(self.preprocessing)
        pixels = pixels.float()
        if settings["do_rescale"]:
            pixels = pixels * settings["rescale_factor"]
        if settings["do_normalize"]:
            mean, std = (pixels.new_tensor(settings[name]).view(-1, 1, 1) for name in ("image_mean", "image_std"))
            pixels = (pixels - mean) / std
        return pixels


def load_image_tower(name_or_path: str | Path, allow_download: bool = True) -> LoadedImage:
    """An image tower (float32) from a CLIP or CLIP-vision checkpoint, a local folder or a hub name.

    Raises ModelError for a checkpoint that is missing, damaged, of another layout, or whose tensors do not fit exactly.
    """
    folder = checkpoint_folder(name_or_path, allow_download)
    settings, whole = _settings(read_json(folder / "config.json", _PURPOSE), folder)
    tensors = without_position_ids(read_tensors(folder))
    if whole:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(_TEXT_HALF)}
    processing = _processing(folder, settings.get("image_size"))
    tower = _empty_tower(settings, tensors, folder)
    fill(tower, tensors, torch.float32, folder)
    processor = image_processor(processing)
    return LoadedImage(tower, processor, fingerprint(tensors), json.dumps(processing, sort_keys=True))


def _settings(config: Mapping[str, Any], folder: Path) -> tuple[dict[str, Any], bool]:
    """The vision settings of a config.json, and whether it describes a whole CLIP."""
    kind = config.get("model_type")
    if kind not in ("clip", "clip_vision_model"):
        raise ModelError(f"{folder}: expected {_PURPOSE} (model_type clip or clip_vision_model), found '{kind}'")
    vision = config.get("vision_config") if kind == "clip" else config
    if not isinstance(vision, Mapping):
        raise ModelError(f"{folder}: expected a vision_config in config.json, found none")
    return {key: vision[key] for key in _MODEL_KEYS if key in vision}, kind == "clip"


def _empty_tower(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path) -> nn.Module:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    weight = tensors.get("visual_projection.weight")
    if weight is None or weight.dim() != 2:
        raise ModelError(f"{folder}: expected {_PURPOSE} with a projection, found no matrix visual_projection.weight")
    try:
        with torch.device("meta"):
            config = CLIPVisionConfig(**settings, projection_dim=int(weight.shape[0]))
            return CLIPVisionModelWithProjection(config)
    except Exception as error:  # transformers validates its settings with errors of its own
        raise ModelError(f"{folder}: the image tower cannot be built: {one_line(error)}") from None


def _processing(folder: Path, image_size: int | None) -> dict[str, Any]:
    """The checkpoint's pre-processing, checked against the picture size the tower takes."""
    path = folder / "preprocessor_config.json"
    if not path.is_file() and (folder / "processor_config.json").is_file():
        written = read_json(folder / "processor_config.json", "the pre-processing").get("image_processor") or {}
    else:
        written = read_json(path, "the pre-processing of pictures")
    kind = written.get("image_processor_type", written.get("feature_extractor_type", _PROCESSORS[0]))
    if kind not in _PROCESSORS:
        raise ModelError(f"{folder}: expected the pre-processing of CLIP, found {kind}")
    try:
        processing = canonical_processing(written)
    except (TypeError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: the pre-processing is not valid: {one_line(error)}") from None
    crop = processing["crop_size"]
    size = image_size or 224
    if processing["do_center_crop"] and (crop["height"], crop["width"]) != (size, size):
        raise ModelError(
            f"{folder}: tower and pre-processing disagree: expected pictures of {size} x {size}, found crop_size "
            f"{crop['height']} x {crop['width']}"
        )
    return processing


def canonical_processing(written: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of CLIP's pre-processing in one spelling, whatever release of transformers wrote them."""
    size, crop = written.get("size") or 224, written.get("crop_size") or 224
    return {
        "size": {"shortest_edge": size} if isinstance(size, int) else {key: int(n) for key, n in size.items() if n},
        "crop_size": dict.fromkeys(("height", "width"), crop)
        if isinstance(crop, int)
        else {"height": int(crop["height"]), "width": int(crop["width"])},
        "resample": int(written.get("resample", 3)),
        "rescale_factor": float(written.get("rescale_factor") or 1 / 255),
        "image_mean": [float(x) for x in written.get("image_mean") or _MEAN],
        "image_std": [float(x) for x in written.get("image_std") or _STD],
        **{switch: bool(written.get(switch, True)) for switch in _SWITCHES},
    }


def image_processor(settings: Mapping[str, Any]) -> Any:
    """CLIP's pre-processing by transformers, on Pillow and numpy (no torchvision), with the given settings."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    return CLIPImageProcessorPil(**canonical_processing(settings))


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
        **{key: getattr(config, key) for key in _MODEL_KEYS},
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
