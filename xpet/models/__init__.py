"""Text and image towers: the only room that imports transformers, but for `methods/bridge.py`."""
