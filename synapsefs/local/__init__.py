"""Local files: what lies on disk, its names, and how it is read and written safely."""
