"""Whole trees: put, get, ignored, described, packed and unpacked."""
