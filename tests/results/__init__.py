"""Tests of `valstab.results`."""
