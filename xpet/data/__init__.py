"""Reads data sets (captions, pictures, splits, English text), checks them, and stores image features and pairs."""
