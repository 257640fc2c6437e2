"""One file per metric; the file name is the metric's name in protocols and records."""
