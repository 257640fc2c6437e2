"""Whole datasets into stores of frames and embeddings, and what lies in the cache."""
