"""The job of `xpet translate`: read run.py first."""
