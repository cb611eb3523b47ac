"""Whether the process that a trial belongs to is still at work on it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from localrules.sweep.ownership import is_gone, me

OWNER_OF_ITSELF = "from localrules.sweep.ownership import me; print(me(), flush=True); input()"


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that waits for a line, and what it is as an owner."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER_OF_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def test_a_process_is_there_until_it_ends(other: tuple[subprocess.Popen[str], str]) -> None:
    process, owner = other
    assert not is_gone(me())
    assert not is_gone(owner)
    process.communicate("go\n")
    assert is_gone(owner)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not tell when a process was started")
def test_another_process_with_its_number_is_not_the_owner(other: tuple[subprocess.Popen[str], str]) -> None:
    host, number, token, start, *_ = other[1].split(" ")
    assert is_gone(f"{host} {number} {token} {int(start) - 1}")


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="the system has no namespaces")
def test_a_process_of_another_container_counts_as_there(other: tuple[subprocess.Popen[str], str]) -> None:
    process, owner = other
    process.communicate("go\n")
    assert is_gone(owner)
    assert not is_gone(f"{owner.rpartition(' ')[0]} pid:[1]")


def test_an_earlier_process_with_this_ones_number_is_gone() -> None:
    assert is_gone(f"{socket.gethostname()} {os.getpid()} earlier")


def test_a_process_without_a_start_counts_as_there_and_so_does_one_of_another_machine() -> None:
    assert not is_gone(f"{socket.gethostname()} {os.getppid()} token")
    assert not is_gone("elsewhere 1 token 1")


def test_nobody_is_gone() -> None:
    assert is_gone("")
