"""The hall, where data, video, models and results meet. Its rooms, from the ground up:

- `specs.py`, `requests.py`: what a person can choose, and what was asked of a verb.
- `runs/`: what any long work needs: shards, parts and resuming, the run log, diagnosis.
- `loading/`: datasets and frame stores by name; videos to batches of uint8 frames, in workers.
- `encoding/`: the loaded model, prompts, the encoder, the one pass over videos, stored embeddings.
- `training/`, `evaluation/`, `stores/`: the three kinds of long work. None imports another.
- `verification/`, `sweep.py`, `predict.py`: what is built on them.

A room imports only rooms above it in this list. The rooms are namespace packages: they have no
file of their own beside those that do the work.
"""
