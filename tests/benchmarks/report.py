"""Tables, goals and a plot of what was measured."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from tests.benchmarks.works import GOALS, Goal, Work

DOCS = Path(__file__).parents[2] / "docs"
IMPORT = Work("import", "Import beyond fsspec and aiohttp", "", False, (), unit="ms")
SERVERS = {
    "discard": "A server that discards uploads and serves memory",
    "embedded": "The embedded server, which writes to disk and shares the two cores",
    "s3": "A real S3 server (for comparison: another server than the others have)",
    "": "Without a server",
}
SMALLER_IS_BETTER = ("× needed", "ms")
INTRODUCTION = """# Benchmarks

The same work by synapsefs and by its peers, on two shared cores. Each candidate runs in a process
of its own that first does the same work on little, so that imports and connections are not
measured; the candidates take turns. Figures are medians. Only ratios carry over to other machines.

`python -m tests.benchmarks --write` makes this page; `--quick` tries everything out in a minute,
`--only WORK`, `--candidate NAME`, `--size`, `--files`, `--runs`, `--server` and `--distance` narrow
it, and `--profile` shows where the time goes. The official clients and s3fs come with the `interop`
extra on Python 3.12; who is not installed is left out.

* *ratio*: how many times as much the first candidate of a table does; for what is better when it is
  smaller, how many times as much the candidate takes.
* *processor*: seconds of the client's processor time, threads and system calls included.
* *memory*: peak of the process beyond a bare interpreter, imports included.
* *requests*: what the server counted, logins and listings included.

A *prototype* is the smallest aiohttp script that speaks the same protocol with the same integrity
data and does nothing else: no retries, no resuming, no look at what is there. What is far away is
behind a proxy that delays each byte by half a round trip and lets each connection move only so much
per second, as object stores do. HTTPFileSystem, obstore, requests and raw aiohttp verify nothing.
A slow client gets a twentieth of the small files; its figure is a rate all the same.
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run cost: its figure, seconds of processor time, MiB, requests by their routes."""

    figure: float
    cpu: float | None = None
    memory: float | None = None
    requests: int | None = None
    routes: dict[str, int] = field(default_factory=dict)


class Results:
    """All that was measured, by server, work and candidate."""

    def __init__(self) -> None:
        self.works: dict[tuple[str, str], Work] = {}
        self.runs: dict[tuple[str, str], dict[str, list[Measured]]] = {}
        self.skipped: dict[str, None] = {}

    def add(self, server: str, work: Work, label: str, measured: Measured) -> None:
        self.works[server, work.name] = work
        self.runs.setdefault((server, work.name), {}).setdefault(label, []).append(measured)

    def skip(self, why: str) -> None:
        self.skipped[why] = None

    def median(
        self, work: str, label: str, what: str = "figure", server: str = "discard"
    ) -> float | None:
        """Give the median of a candidate's figures; None where there are none."""
        server = "" if work == "import" else server
        runs = self.runs.get((server, work), {}).get(label, [])
        values = [value for run in runs if (value := getattr(run, what)) is not None]
        return statistics.median(values) if values else None


def markdown(results: Results, command: str, sizes: Any, runs: int) -> str:
    """Write everything but the plot."""
    amounts = (
        f"Large: {sizes.large / 1e6:,.0f} MB. Small: {sizes.small:,} files of 20 KB, far away "
        f"{sizes.fewer:,}. Parquet: {sizes.columns / 1e6:,.0f} MB of 20 columns. Huge: "
        f"{sizes.huge / 2**30:,.2g} GiB. Median of {runs} (far away and huge: once where it is "
        "a large file)."
    )
    lines = [INTRODUCTION, f"Made by `{command}`. {amounts}", ""]
    if results.skipped:
        lines += ["Left out:", "", *(f"* {why}" for why in results.skipped), ""]
    lines += ["![ratios](benchmarks.svg)", "", "## Goals", "", *_goals(results), ""]
    for server, title in SERVERS.items():
        there = [key for key in results.runs if key[0] == server]
        if there:
            lines += [f"## {title}", ""]
        for key in there:
            lines += [*_table(results, key), ""]
    return "\n".join(lines)


def _goals(results: Results) -> Iterable[str]:
    yield "| Work | Ours | Beside | Goal | Measured | |"
    yield "|---|---|---|---|---|---|"
    for goal in GOALS:
        ratio = reached(results, goal)
        if ratio is None:
            continue
        sign = "≤" if goal.at_most else "≥"
        met = ratio <= goal.bound if goal.at_most else ratio >= goal.bound
        unit = {"import": " ms", "memory": " MiB"}.get(goal.work, "")
        yield (
            f"| {goal.work} | {goal.ours} | {goal.theirs or '–'} | {sign} {goal.bound:g}{unit} | "
            f"{ratio:,.2f}{unit} | {'met' if met else '**missed**'} |"
        )


def reached(results: Results, goal: Goal) -> float | None:
    """Give the ratio of a goal; None where it was not measured."""
    what = "memory" if goal.figure == "memory" else "figure"
    ours = results.median(goal.work, goal.ours, what)
    if ours is None or not goal.theirs:
        return ours
    theirs = results.median(goal.work, goal.theirs, what)
    return None if not theirs else ours / theirs


def _table(results: Results, key: tuple[str, str]) -> Iterable[str]:
    server, name = key
    work = results.works[key]
    yield f"### {work.title} (`{name}`)"
    yield ""
    yield f"| Candidate | {work.unit} | ratio | processor, s | memory, MiB | requests |"
    yield "|---|---:|---:|---:|---:|---:|"
    labels = list(results.runs[key])
    first = results.median(name, labels[0], server=server)
    for label in labels:
        figure, cpu, memory, requests = (
            results.median(name, label, what, server)
            for what in ("figure", "cpu", "memory", "requests")
        )
        assert figure is not None
        ratio = "–"
        if first and figure:
            less = work.unit in SMALLER_IS_BETTER
            ratio = f"{(figure / first if less else first / figure):,.2f}"
        yield (
            f"| {label} | {_number(figure)} | {ratio} | {_number(cpu, 2)} | {_number(memory, 0)} | "
            f"{_number(requests, 0)} |"
        )


def _number(value: float | None, digits: int | None = None) -> str:
    if value is None:
        return "–"
    if digits is None:
        digits = 0 if value >= 20 else 2
    return f"{value:,.{digits}f}"


# --- the plot ------------------------------------------------------------------------------

WIDTH, LEFT, BAR, GAP = 760, 300, 14, 5
OURS, THEIRS = "#2b6cb0", "#a0aec0"


def svg(results: Results) -> str:
    """Draw the figures of each work as bars, the longest of a work over the whole width."""
    y, shapes = 24, []
    for key, runs in results.runs.items():
        server, name = key
        work = results.works[key]
        if server == "s3" or not runs:
            continue
        where = f", {server} server" if server else ""
        shapes.append(_text(8, y, f"{work.title}{where} ({work.unit})", "bold"))
        y += 10
        medians = {label: results.median(name, label, server=server) or 0.0 for label in runs}
        most = max(medians.values()) or 1.0
        for label, value in medians.items():
            is_ours = _is_ours(work, label)
            length = (WIDTH - LEFT - 90) * value / most
            shapes.append(_text(LEFT - 8, y + BAR - 3, label, "normal", "end"))
            shapes.append(
                f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" '
                f'fill="{OURS if is_ours else THEIRS}"/>'
            )
            shapes.append(_text(LEFT + length + 6, y + BAR - 3, _number(value)))
            y += BAR + GAP
        y += 26
    style = "font-family:sans-serif;font-size:12px;background:white"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" style="{style}">\n'
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )


def _is_ours(work: Work, label: str) -> bool:
    if work.name == "import":
        return label == "synapsefs"
    return any(one.label == label and one.kind == "Synapsefs" for one in work.candidates)


def _text(x: float, y: float, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def write(results: Results, text: str) -> None:
    """Write the page and its plot."""
    (DOCS / "benchmarks.md").write_text(text.rstrip() + "\n", "utf-8")
    (DOCS / "benchmarks.svg").write_text(svg(results), "utf-8")
