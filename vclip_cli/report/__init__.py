"""The HTML report: gathers what runs left behind, and shows it on one page."""
