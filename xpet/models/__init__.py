"""Text and image towers: the only room that imports transformers."""
