"""The report of a run: one HTML file that needs no network, with the numbers and every conversation and answer."""
