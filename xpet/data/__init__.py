"""Data sets as aligned captions, pictures, seeded splits, lint and the image-feature store."""
