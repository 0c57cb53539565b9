"""The results of the jobs, as records that the view prints and `--json` writes."""
