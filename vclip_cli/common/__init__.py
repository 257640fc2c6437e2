"""The ground floor: errors, files, hashes, locks, limited readers, progress, interruption."""
