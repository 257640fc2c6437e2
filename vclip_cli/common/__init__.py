"""What every room uses: errors, files and hashes, locks, safe readers, progress, interruption."""
