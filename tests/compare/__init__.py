"""Tests of `valstab.compare`."""
