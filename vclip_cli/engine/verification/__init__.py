"""Whether a record still is what its files, its dataset and its weights say."""
