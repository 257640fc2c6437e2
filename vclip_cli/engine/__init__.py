"""The layer where data, video, models and results meet. Its parts, lowest first:

- `specs.py`, `requests.py`: the settings, and a request: the settings given to one verb.
- `runs/`: shards, parts, resuming, the run log, and diagnosis, for all long work.
- `loading/`: datasets and frame stores by name; videos to batches of uint8 frames, in workers.
- `encoding/`: the loaded model, prompts, the encoder, the one pass over videos, stored embeddings.
- `training/`, `evaluation/`, `stores/`: the long work. None of the three imports another.
- `verification/`, `sweep.py`, `predict.py`: built on all of the above.

A part imports only parts above it in this list. The folders are namespace packages, without an
`__init__.py`.
"""
