"""Code that the jobs of several commands use: corpora, towers, runs, translations, and measuring."""
