"""The demo's numbers in one place: sizes, seeds, languages and what each language was exposed to."""

from __future__ import annotations

SEED = 20231206
LANGUAGES = ("en", "de", "fr", "es", "it", "ja", "ko", "pl", "ru", "tr", "zh")
SPLITS = {"train": 5000, "validation": 1000, "test": 1000}
PRETRAINING_SCENES = 32_000
DIMENSIONS = 128
IMAGE_TOWER = {
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 3, "num_attention_heads": 4,
    "image_size": 64, "patch_size": 16, "projection_dim": DIMENSIONS,
}  # fmt: skip
TEXT_TOWER = {
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 66, "type_vocab_size": 1, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
    "layer_norm_eps": 1e-5, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
}  # fmt: skip
PIXEL_MEAN, PIXEL_STD = 0.5, 0.25
