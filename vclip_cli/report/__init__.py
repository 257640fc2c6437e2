"""The HTML report: gathers records, predictions, videos and weights, and shows them on one page."""
