"""Pieces of a training step in one kernel or one node of autograd each: Triton's beside plain PyTorch twins."""
