"""What a candidate is told to do, as it is sent to its process."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Job:
    """One measurement.

    Attributes
    ----------
    url
        The services; the S3 server for s3fs.
    container
        Path of the collection's specification or the dataset, as synapsefs names it.
    collection, dataset
        Their ids.
    local
        File or directory to upload.
    out
        File or directory to download to; it does not exist.
    paths, urls, ids
        What to download: synapsefs's paths, signed URLs, ids of entries.
    put_url
        A signed URL that takes any object.
    size
        Bytes of the large file.
    column
        Column of a Parquet file to read.
    """

    url: str
    container: str = ""
    collection: int = 0
    dataset: str = ""
    local: str = ""
    out: str = ""
    paths: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    put_url: str = ""
    size: int = 0
    column: str = ""
