"""The report: one HTML file with a run's numbers, pictures and transcripts."""
