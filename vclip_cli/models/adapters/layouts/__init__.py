"""The authors' checkpoints: the rules, one file of `LAYOUTS` per method, and the conversion."""
