"""Porch: the only room with typer, rich and tabulate. Options in, one job, a view out; no arithmetic."""
