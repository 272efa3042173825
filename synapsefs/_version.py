"""The version, read by the build and by :mod:`synapsefs`."""

__version__ = "0.1.0"
