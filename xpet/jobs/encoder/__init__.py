"""The Python API that encodes texts and pictures."""
