"""What a report shows beyond records: frames, embeddings and attention, from videos and weights."""
