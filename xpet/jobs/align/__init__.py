"""The job of `xpet align`: read run.py first."""
