"""`vclip bench`: how fast videos are read and encoded, and methods trained, on this machine."""
