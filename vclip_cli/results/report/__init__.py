"""A report as one HTML file, from plain material: records, predictions, pictures, vectors."""
