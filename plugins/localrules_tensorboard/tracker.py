"""Runs in TensorBoard: event files in the run folder."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from localrules.callbacks.base import MetricsRow, Plot, RunInfo, Tracker
from localrules.errors import UsageError
from localrules.utils.text import shell_quote

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoardTracker(Tracker):
    """Writes metrics and images to ``<run folder>/tensorboard``.

    Event files never leave the machine by themselves, but people send them; so the rule for images that show the
    data is the same as for W&B.

    Raises:
        UsageError: The package ``tensorboard`` is not installed.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

        media: bool = Field(False, description="Log images of data that may not be redistributed, as FER2013.")

    config: Config

    def __init__(self, config: BaseModel) -> None:
        super().__init__(config)
        # At once, not when the run starts: a user who asked for it should not find out after training.
        if importlib.util.find_spec("tensorboard") is None:
            raise UsageError(
                "TensorBoard is not installed",
                where="tracker tensorboard",
                why="it is an extra of localrules, since most runs do without",
                fix="pip install 'localrules[tensorboard]'",
            )
        self._writer: SummaryWriter | None = None

    def on_run_start(self, run: RunInfo) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._info = run
        resumed = run.resumed_from_step
        # What the killed run wrote after its last checkpoint is written again, so the first writing is dropped.
        self._writer = SummaryWriter(str(run.directory / "tensorboard"), purge_step=resumed + 1 if resumed else None)
        if not resumed:
            text = json.dumps(run.config, indent=2, default=str)
            self._writer.add_text("config", "\n".join("    " + line for line in text.splitlines()))

    def on_log(self, row: MetricsRow) -> None:
        assert self._writer is not None
        step = int(row["step"] or 0)
        for column, value in row.items():
            if column != "step" and isinstance(value, (int, float)):
                self._writer.add_scalar(column, value, step)

    def on_checkpoint(self) -> None:
        assert self._writer is not None
        self._writer.flush()

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        import numpy as np
        from PIL import Image

        assert self._writer is not None
        for shown_image in plots:
            if not shown_image.shows_data or self._info.redistributable or self.config.media:
                with Image.open(shown_image.path) as image:
                    pixels = np.asarray(image.convert("RGB"))
                self._writer.add_image(shown_image.name, pixels, int(summary.get("steps") or 0), dataformats="HWC")
        self._writer.flush()
        folder = shell_quote(self._info.directory / "tensorboard")
        print(f"TensorBoard: look at it: tensorboard --logdir {folder}", file=sys.stderr)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
