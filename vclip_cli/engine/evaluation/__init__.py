"""Evaluation: the plan, scoring, calibration, the record."""
