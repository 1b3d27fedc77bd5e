"""Tests of `valstab.tracking`."""
