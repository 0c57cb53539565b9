"""Interpreter: translators, cache and quality checks (not built yet; see CHANGELOG)."""
