"""What valstab survives: kills, faults, bad input and load, each tried for real and counted."""
