"""Names the command line offers, importable without torch; a test holds them equal to the tables they stand for."""

LOSS_NAMES = ("mse", "mse-normalized", "contrastive", "contrastive-image", "cosine")
METHOD_NAMES = ("lora", "adapter", "compacter", "soft-prompt", "bitfit", "full")
UNSUPPORTED_METHODS = {
    "prefix": "OpenDelta's prefix tuning knows neither XLM-R's attention nor transformers 5; use --method soft-prompt",
}
SOURCE_NAMES = ("demo", "xtd", "multi30k", "table")
