"""Tests of `valstab.dry_run`."""
