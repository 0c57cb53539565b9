"""Hallway: one `run(config, on_event) -> Result` per command; wires the rooms together, no maths."""
