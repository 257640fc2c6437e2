"""Training of adapters: samples, augmentation, mixing, optimiser, loop, resume."""
