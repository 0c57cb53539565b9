"""The job of `xpet merge`: read run.py first."""
