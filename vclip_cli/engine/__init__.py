"""The hall: where data, video, models and results meet."""
