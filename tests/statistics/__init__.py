"""Tests of `valstab.statistics`."""
