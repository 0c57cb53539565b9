"""The jobs: one `run(config, on_event) -> Result` per command, which wires the rooms together; no arithmetic."""
