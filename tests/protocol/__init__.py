"""Tests of `valstab.protocol`."""
