"""The time until a run's first step: with an empty cache of decoded images, with a full one, and for torch alone.

    python examples/studies/start_time.py cifar10_jpeg_train.tar.gz

What is printed are seconds from the start of a process: of ``localrules run`` until it writes that it trains, of the
control until it has imported torch and made an optimizer, which any program that trains with torch waits for. The run
and the control take turns; the run with an empty cache comes first. All files are in a temporary folder. More options
are those of ``localrules run``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from localrules.engine.environment import processor_name

CONTROL = "import torch; torch.optim.Adam([torch.zeros(1, requires_grad=True)]); print('trains', flush=True)"
RUN = ("-m", "localrules", "run", "--rule", "predsim", "--model", "vgg8b", "--data", "cifar10", "--threads", "1")


def seconds(words: list[str], cache: Path) -> float:
    """Seconds until a Python process with these arguments writes that it trains; then it is killed."""
    began = time.perf_counter()
    environment = {**os.environ, "LOCALRULES_CACHE": str(cache)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    said = ""
    with subprocess.Popen([sys.executable, *words], env=environment, **pipes) as process:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if "trains" in line:
                taken = time.perf_counter() - began
                process.kill()
                return taken
    raise SystemExit(f"the process ended before its first step:\n{said}")


def main() -> None:
    """Start and end processes in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_path", help="CIFAR-10 in any form that --data cifar10 reads")
    parser.add_argument("--rounds", type=int, default=5)
    asked, more = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        run = [*RUN, "--data-path", asked.data_path, "--out", str(place / "runs"), *more]
        print(f"{processor_name()}\nempty cache: {seconds(run, place / 'cache'):.2f} s")
        rounds = [(seconds(["-c", CONTROL], place), seconds(run, place / "cache")) for _ in range(asked.rounds)]
        controls, runs = zip(*rounds, strict=True)
        ratio = median(own / control for control, own in rounds)
        print(f"full cache: {median(runs):.2f} s; the control: {median(controls):.2f} s; median of ratios {ratio:.2f}")


if __name__ == "__main__":
    main()
