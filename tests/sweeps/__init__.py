"""Tests of `valstab.sweeps`."""
