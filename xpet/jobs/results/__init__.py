"""What jobs hand back: records that the view prints and `--json` writes."""
