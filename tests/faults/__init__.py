"""What networks, processes and disks do to us, and what must be true afterwards."""
