"""How the authors' checkpoints name their tensors: one file per method, with its `LAYOUTS`."""
