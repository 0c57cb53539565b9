"""The note that every result of the demo world carries."""

SYNTHETIC = "synthetic demo world: the numbers show how xpet works, not how a real model does"
