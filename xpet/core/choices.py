"""Names the command line offers, importable without torch; a test holds them equal to the tables they stand for."""

LOSS_NAMES = ("mse", "mse-normalized", "contrastive", "contrastive-image", "cosine")
DEFAULT_WEIGHTS = {"mse": 0.1, "mse-normalized": 1.0, "contrastive": 0.1, "contrastive-image": 0.1, "cosine": 1.0}
"""Weight of an alignment loss unless given: the paper's range for its own losses, 1 for those free of the scale."""
METHOD_NAMES = ("lora", "adapter", "compacter", "soft-prompt", "bitfit", "full")
UNSUPPORTED_METHODS = {
    "prefix": "OpenDelta's prefix tuning knows neither XLM-R's attention nor transformers 5; use --method soft-prompt",
}
SOURCE_NAMES = ("demo", "xtd", "multi30k", "table")
FORM_NAMES = ("checkpoint", "peft", "opendelta", "onnx", "sentence-transformers")
"""What `xpet merge` writes: the first by itself, the others by `--export`."""
