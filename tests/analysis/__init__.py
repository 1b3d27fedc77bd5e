"""Tests of `valstab.analysis`."""
