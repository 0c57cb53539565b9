"""Interpreter: packages, translators, cache and quality checks; the only room with argostranslate."""
