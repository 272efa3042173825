"""How many cases ran, by kind; the summary at the end shows it."""

from __future__ import annotations

from collections import Counter

COUNTS: Counter[str] = Counter()
