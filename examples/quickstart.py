"""The main job on the embedded server: a table, a folder of images, and back, byte for byte."""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
from PIL import Image
from sklearn import datasets as samples

from synapsefs import SynapseFileSystem

SPECIFICATIONS = [
    {
        "name": "image_1",
        "file_type": "image",
        "is_required": True,
        "is_primary": True,
        "function_type": "main",
    },
    {"name": "json_meta_1", "file_type": "data", "is_required": True, "function_type": "meta"},
]


def remade(fs: SynapseFileSystem, path: str, **options: object) -> None:
    """Make a collection or dataset anew."""
    if fs.exists(path):
        fs.rm(path, recursive=True)
    fs.mkdir(path, **options)


def table(fs: SynapseFileSystem, options: dict[str, str]) -> None:
    """Write a table through pandas, read two of its columns through pyarrow, filtered."""
    frame = samples.load_breast_cancer(as_frame=True).frame
    url = "synapse://datasets/quickstart/tables/cancer.parquet"
    frame.to_parquet(url, storage_options=options)
    wanted = ["mean radius", "target"]
    source = ds.dataset("datasets/quickstart/tables/cancer.parquet", filesystem=fs)
    found = source.to_table(columns=wanted, filter=pc.field("target") == 1).to_pandas()
    expected = frame.loc[frame["target"] == 1, wanted].reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)
    print(f"{url}: {len(frame)} rows written, {len(found)} rows of 2 columns read back")


def make_images(folder: Path) -> None:
    """Lay out real images and a description of each, a folder for each specification."""
    for name in ("image_1", "json_meta_1"):
        (folder / name / "train").mkdir(parents=True)
    digits = samples.load_digits()
    for index in range(20):
        pixels = (digits.images[index] / digits.images[index].max() * 255).astype(np.uint8)
        stem = f"train/digit-{index:02d}"
        Image.fromarray(pixels).resize((64, 64)).save(folder / "image_1" / f"{stem}.png")
        note = json.dumps({"label": int(digits.target[index])})
        (folder / "json_meta_1" / f"{stem}.json").write_text(note)
    for photo in ("china", "flower"):
        pixels = samples.load_sample_image(f"{photo}.jpg")
        Image.fromarray(pixels).save(folder / "image_1" / "train" / f"{photo}.jpg")
        (folder / "json_meta_1" / "train" / f"{photo}.json").write_text('{"label": null}')


def images(fs: SynapseFileSystem, work: Path) -> None:
    """Put a folder as whole units, list it, get it back, and compare every byte."""
    there, back = work / "there", work / "back"
    make_images(there)
    fs.put(f"{there}/", "collections/quickstart/", recursive=True)
    found = fs.find("collections/quickstart")
    print(f"synapse://collections/quickstart: {len(found)} files in {len(found) // 2} units, as")
    print(f"  {found[0]}")
    fs.get("collections/quickstart/", f"{back}/", recursive=True)
    names = sorted(str(path.relative_to(there)) for path in there.rglob("*") if path.is_file())
    _, differing, failed = filecmp.cmpfiles(there, back, names, shallow=False)
    if differing or failed or len(names) != len(found):
        raise SystemExit(f"not the same: {differing + failed}")
    print(f"  {len(names)} files fetched back, every byte the same")


def main() -> None:
    """Run the whole job."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="directory of the embedded server; the default one if not")
    root = parser.parse_args().root
    options = {"endpoint_url": Path(root).absolute().as_uri()} if root else {}
    fs = SynapseFileSystem(**options)
    print(f"using {fs!r}")
    remade(fs, "datasets/quickstart")
    remade(fs, "collections/quickstart", category="image", file_specifications=SPECIFICATIONS)
    table(fs, options)
    work = Path(tempfile.mkdtemp())
    try:
        images(fs, work)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
