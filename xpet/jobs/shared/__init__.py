"""What the jobs of several commands use."""
