"""The jobs: a folder per command, whose `run(config, on_event) -> result` calls the other rooms; no arithmetic here."""
