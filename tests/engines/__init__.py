"""Tests of `valstab.engines`."""
