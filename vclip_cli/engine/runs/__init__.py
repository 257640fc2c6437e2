"""What any long work needs: shards, parts, the run log, diagnosis."""
