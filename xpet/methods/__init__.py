"""Parameter-efficient methods: one file each, one explicit table, one stack that trains many runs side by side."""
