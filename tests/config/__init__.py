"""Tests of `valstab.config`."""
