"""The report of a run: one HTML file with its numbers, charts and transcripts."""
