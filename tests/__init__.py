"""Tests, mirroring the rooms of the package."""
