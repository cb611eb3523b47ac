"""W&B's client as it is, without a login, and with a server on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.wandb_server import WandbServer, serve_wandb


@pytest.fixture(autouse=True)
def _nobody_is_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WandbServer]:
    """A server that the client is logged in to, with retries of milliseconds in place of seconds."""
    import wandb

    settings = {"API_KEY": "0" * 40, "ERROR_REPORTING": "false", "_DISABLE_STATS": "true", "_DISABLE_META": "true"}
    for client in ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL"):
        settings |= {f"_{client}_RETRY_WAIT_MIN_SECONDS": "0.05", f"_{client}_RETRY_WAIT_MAX_SECONDS": "0.2"}
    settings |= {"_FILE_STREAM_TRANSMIT_INTERVAL": "0.05"}
    with serve_wandb() as served:
        for name, value in {**settings, "BASE_URL": served.url}.items():
            monkeypatch.setenv(f"WANDB_{name}", value)
        wandb.teardown()  # its settings are read from the environment once in a process
        yield served
        wandb.teardown()
