"""Tests of `valstab.inputs`."""
