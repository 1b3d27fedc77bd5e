"""Tests of `valstab.commands`."""
