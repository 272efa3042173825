"""Where a process spends its time: the stacks of its threads, a thousand times a second."""

from __future__ import annotations

import collections
import os
import sys
import threading
import time
from types import FrameType

INTERVAL = 0.001
IDLE = ("threading.py:wait", "selectors.py:select", "queue.py:get", "thread.py:_worker")
MOST_LINES = 25


class Sampler:
    """Counts where threads are while it runs; threads that wait do not count."""

    def __init__(self) -> None:
        self._lines: collections.Counter[str] = collections.Counter()
        self._functions: collections.Counter[str] = collections.Counter()
        self._threads: collections.Counter[str] = collections.Counter()
        self._samples = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        sys.setswitchinterval(INTERVAL / 2)
        self._thread.start()

    def stop(self) -> str:
        """Give what was seen, in per cent of the time."""
        self._stop.set()
        self._thread.join()
        tables = {
            "threads at work": self._threads,
            "lines": self._lines,
            "functions with what they call": self._functions,
        }
        return "\n".join(
            line
            for title, counter in tables.items()
            for line in [
                f"--- {title} (% of {self._samples} samples)",
                *(
                    f"{100 * count / self._samples:6.1f}  {where}"
                    for where, count in counter.most_common(MOST_LINES)
                ),
            ]
        )

    def _run(self) -> None:
        own = threading.get_ident()
        while not self._stop.is_set():
            self._samples += 1
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if ident != own:
                    self._look(names.get(ident, "?"), frame)
            time.sleep(INTERVAL)

    def _look(self, name: str, frame: FrameType | None) -> None:
        assert frame is not None
        if _place(frame) in IDLE:
            return
        self._threads[name] += 1
        self._lines[f"{_place(frame)}:{frame.f_lineno}"] += 1
        seen = set()
        while frame is not None:
            if (place := _place(frame)) not in seen:
                seen.add(place)
                self._functions[place] += 1
            frame = frame.f_back


def _place(frame: FrameType) -> str:
    code = frame.f_code
    file = code.co_filename
    short = file.partition("/synapsefs/")[2] if "/synapsefs/" in file else os.path.basename(file)
    return f"{short}:{code.co_name}"
