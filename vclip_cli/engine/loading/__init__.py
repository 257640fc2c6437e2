"""From video files to batches of uint8 frames, read in worker processes."""
