"""Parts of single methods that are too large for their adapters' files."""
