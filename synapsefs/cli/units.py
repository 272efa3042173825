"""The command that lists data units as a table."""

from __future__ import annotations

import csv
import json
import re
import sys
from typing import Annotated, Any

import typer

from synapsefs.cli.base import Source, command
from synapsefs.errors import InvalidRequestError
from synapsefs.filesystem import SynapseFileSystem


@command
def units(
    fs: SynapseFileSystem,
    path: Source,
    column: Annotated[
        list[str] | None, typer.Option(help="A column to show; may be repeated. All, if left out.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only units with NAME=VALUE (also != < <= > >=); may be repeated."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV instead of JSON.")] = False,
) -> None:
    """List the data units of a collection with their files and metadata."""
    filters = [_condition(words) for words in where or ()] or None
    rows = csv.writer(sys.stdout, lineterminator="\n") if as_csv else None
    head = True
    for batch in fs.units_batches(path, columns=column or None, filters=filters):
        if rows is not None and head:
            rows.writerow(batch.schema.names)
        head = False
        for row in batch.to_pylist():
            if rows is None:
                print(json.dumps(row, ensure_ascii=False, default=str))
            else:
                rows.writerow([_cell(value) for value in row.values()])


def _cell(value: Any) -> Any:
    """Write a value for CSV: lists as JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value


def _condition(words: str) -> tuple[str, str, Any]:
    """Read ``NAME=VALUE``; a value that is JSON is what it says, any other a text."""
    parts = re.fullmatch(r"([^=!<>]+)(==?|!=|<=?|>=?)(.*)", words)
    if parts is None:
        raise InvalidRequestError("a condition is NAME=VALUE, or with != < <= > >=", words)
    name, operator, text = parts.groups()
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    return name.strip(), {"=": "=="}.get(operator, operator), value
