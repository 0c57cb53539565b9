"""Tests of the hallway: whole commands, in process, on tiny towers."""
