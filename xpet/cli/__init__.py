"""The command line, the only room with typer, rich and tabulate: options in, one job, a view out; no arithmetic."""
