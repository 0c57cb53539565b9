"""Offline machine translation: packages, translators, cache and checks; see README.md. Only it knows argostranslate."""
