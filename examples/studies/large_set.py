"""A data set larger than memory: 4 GiB of decoded images are trained on by a process that may hold 2 GiB.

    python examples/studies/large_set.py

A tar archive of JPEG images of 128 x 128 pixels is written to a temporary folder, decoded once into a mapped cache
there, and trained on for some steps. The limit is the system's on a process's data (RLIMIT_DATA of Linux: its heap and
its private mappings, not files that are mapped). What is printed are the size of the decoded images, the peak of the
process's anonymous memory, which cannot be dropped and read again, and whether the run is done.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

GIB = 2**30
SIDE, CLASSES, DISTINCT = 128, 4, 64
RUN = ("run", "--rule", "local-ce", "--model", "lenet", "--data", "image_folder", "--threads", "1", "--steps", "20")
SETTINGS = (f"data.size={SIDE}", "data.valid_fraction=0.01", "plots=false", "eval_batch_size=50", "batch_size=32")


def write_archive(path: Path, images: int) -> None:
    """An archive of images of noise, as ``<class>/<number>.jpg``; there are some distinct ones, many times."""
    random = np.random.default_rng(0)
    contents = []
    for _ in range(DISTINCT):
        coarse = Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        made = io.BytesIO()
        coarse.resize((SIDE, SIDE)).save(made, "JPEG")
        contents.append(made.getvalue())
    with tarfile.open(path, "w") as archive:
        for number in range(images):
            content = contents[number % DISTINCT]
            entry = tarfile.TarInfo(f"{number % CLASSES}/{number}.jpg")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def anonymous_bytes(process: int) -> int:
    """The anonymous memory that a process holds now; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


def main() -> int:
    """Train under the limit; 1 if that fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=4.0, help="size of the decoded images")
    parser.add_argument("--limit-gib", type=float, default=2.0, help="what the process may hold")
    asked = parser.parse_args()
    images, limit = round(asked.gib * GIB / (3 * SIDE**2)), round(asked.limit_gib * GIB)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_archive(place / "images.tar", images)
        words = [*RUN, "--data-path", str(place / "images.tar"), "--out", str(place / "runs"), "--json"]
        words += [word for setting in SETTINGS for word in ("--set", setting)]
        process = subprocess.Popen(
            [sys.executable, "-m", "localrules", *words],
            env={**os.environ, "LOCALRULES_CACHE": str(place / "cache")},
            stdout=subprocess.PIPE,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit)),
        )
        peak = 0
        while process.poll() is None:
            peak = max(peak, anonymous_bytes(process.pid))
            time.sleep(0.05)
        said = process.communicate()[0]
    done = process.returncode == 0 and json.loads(said)["status"] == "done"
    print(
        f"{images:,} images, {images * 3 * SIDE**2 / GIB:.2f} GiB decoded; limit {asked.limit_gib:g} GiB; "
        f"peak of anonymous memory {peak / GIB:.2f} GiB; {'done' if done else 'failed'}"
    )
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
