"""The registry of models on disk."""
