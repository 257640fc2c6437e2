"""From batches to embeddings and scores: the loaded model, prompts, the embedding store."""
