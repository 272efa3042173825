"""The main job, from end to end, on data that ships inside scikit-learn.

A table goes into a dataset as Parquet, and two of its columns come back, filtered. A folder of
images with a JSON description each goes into a collection and comes back, byte for byte.

Run it with ``python examples/quickstart.py``. With nothing configured it uses the embedded server
in your data directory; ``--root DIR`` keeps everything in a directory of your choice.
"""

from __future__ import annotations

import argparse
import importlib.resources
import io
import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.dataset
import pyarrow.fs
from PIL import Image
from sklearn.datasets import load_digits, load_wine

DIGITS = 40
SCALE = 16
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


def main(root: str | None = None) -> None:
    options = {"endpoint_url": Path(root).resolve().as_uri()} if root else {}
    fs = fsspec.filesystem("synapse", **options)
    print(f"Using {fs}")
    run = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:4]}"
    table_in_a_dataset(fs, f"datasets/wine-{run}", options)
    images_in_a_collection(fs, f"collections/pictures-{run}")
    print(f"Look around: synapsefs find synapse://{endpoint_option(options)}")


def table_in_a_dataset(fs: Any, dataset: str, options: dict[str, str]) -> None:
    fs.mkdir(dataset)
    url = f"synapse://{dataset}/wine.parquet"
    wine = load_wine(as_frame=True).frame
    wine.to_parquet(url, storage_options=options)
    print(f"Wrote {len(wine)} rows of {len(wine.columns)} columns through pandas to {url}")

    arrow = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(fs))
    stored = pyarrow.dataset.dataset(f"{dataset}/wine.parquet", filesystem=arrow)
    columns = ["alcohol", "color_intensity"]
    strong = stored.to_table(columns=columns, filter=pyarrow.dataset.field("alcohol") > 13.5)
    expected = wine[wine["alcohol"] > 13.5][columns]
    assert strong.to_pandas().equals(expected.reset_index(drop=True))
    print(f"Read {' and '.join(columns)} back through pyarrow: {strong.num_rows} wines over 13.5 %")


def images_in_a_collection(fs: Any, collection: str) -> None:
    fs.mkdir(collection, category="image", file_specifications=SPECIFICATIONS)
    with tempfile.TemporaryDirectory() as folder:
        there, back = Path(folder, "there"), Path(folder, "back")
        prepare(there)
        fs.put(f"{there}/", collection, recursive=True)
        found = fs.find(collection, detail=True)
        size = sum(info["size"] for info in found.values())
        units = len({info["unit"] for info in found.values()})
        print(f"Put {len(found)} files ({size:,} bytes) into synapse://{collection}")
        for specification in fs.ls(collection, detail=False):
            files = fs.find(specification)
            print(f"  {specification.rsplit('/', 1)[-1]}: {len(files)} files, such as {files[0]}")

        fs.get(f"{collection}/", f"{back}/", recursive=True)
        sent, received = contents(there), contents(back)
        assert sent == received
        print(f"Got all {units} units back: {len(received)} files, every byte the same")


def prepare(folder: Path) -> None:
    """Fill a folder: two photographs and some handwritten digits, each with its description."""
    for name in ("china.jpg", "flower.jpg"):
        photo = importlib.resources.files("sklearn.datasets.images").joinpath(name)
        add(folder, f"photos/{name}", photo.read_bytes(), {"shows": name.removesuffix(".jpg")})
    digits = load_digits()
    for number in range(DIGITS):
        pixels = (digits.images[number] * 255 / 16).astype("uint8")
        picture = Image.fromarray(pixels).resize((8 * SCALE, 8 * SCALE), Image.Resampling.NEAREST)
        encoded = io.BytesIO()
        picture.save(encoded, "PNG")
        description = {"shows": int(digits.target[number])}
        add(folder, f"digits/{number:04}.png", encoded.getvalue(), description)


def add(folder: Path, name: str, image: bytes, description: dict[str, Any]) -> None:
    """Write an image and its description where a collection wants them: equal stems, one unit."""
    for path, content in (
        (folder / "image_1" / name, image),
        ((folder / "json_meta_1" / name).with_suffix(".json"), json.dumps(description).encode()),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def endpoint_option(options: dict[str, str]) -> str:
    return f" --endpoint-url {options['endpoint_url']}" if options else ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", help="directory of the embedded server")
    main(parser.parse_args().root)
