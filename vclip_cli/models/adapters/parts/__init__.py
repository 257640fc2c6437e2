"""Parts that several adapters share, or that are too large for the file of one."""
