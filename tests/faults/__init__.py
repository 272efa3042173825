"""Faults of networks, processes and disks, and the invariants that must hold afterwards."""
