"""Counts of cases by kind, for the summary at the end."""

from __future__ import annotations

from collections import Counter

COUNTS: Counter[str] = Counter()
