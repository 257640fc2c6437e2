"""Metrics, predictions files, records and tables: plain values in, never torch."""
