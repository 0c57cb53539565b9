"""Fits a stack of runs; the only room with accelerate."""
