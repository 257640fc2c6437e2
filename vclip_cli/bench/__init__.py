"""Measuring on this machine, with a person's own clips: what `vclip bench` runs."""
