"""What every room may import: configurations, errors, events, routines, losses, metrics, files of runs and packs."""
