"""The library: one function for each verb, and a loaded model. `vclip_cli` offers their names."""
