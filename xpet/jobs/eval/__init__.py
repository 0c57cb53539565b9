"""The job of `xpet eval`: read run.py first."""
