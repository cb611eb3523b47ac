"""Damaged MATLAB files are errors: some of them would end the process inside scipy."""

from __future__ import annotations

import io
import random
import zlib
from typing import Any

import numpy as np
import pytest

from localrules_vision.mat_file import check_mat

scipy_io = pytest.importorskip("scipy.io")
SECOND_FLAGS, TYPE_OF_VALUES = 145, 184  # bytes of the first array, in which a change ends the process


def mat(**options: Any) -> bytes:
    file = io.BytesIO()
    values = {"X": np.arange(144, dtype=np.uint8).reshape(4, 4, 3, 3), "y": np.array([[1], [10], [3]], dtype=np.uint8)}
    scipy_io.savemat(file, {**values, "note": "text", "more": {"a": 1}, "complex": np.array([1j])}, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"oned_as": "column"}])
def test_sound_files_pass(options: dict[str, Any]) -> None:
    check_mat(mat(**options))


@pytest.mark.parametrize(("place", "value"), [(TYPE_OF_VALUES, 0), (SECOND_FLAGS, 8), (126, 0), (128, 15)])
def test_a_changed_byte_is_an_error(place: int, value: int) -> None:
    content = bytearray(mat())
    content[place] = value
    with pytest.raises((ValueError, zlib.error)):
        check_mat(bytes(content))


@pytest.mark.parametrize("length", [0, 100, 130, 190, -9])
def test_a_file_that_is_cut_short_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match=r"version 5|ends inside|head|unpack|values"):
        check_mat(mat()[:length])


@pytest.mark.parametrize("compressed", [False, True])
def test_whatever_is_damaged_no_other_error_comes(compressed: bool) -> None:
    whole, draw = mat(do_compression=compressed), random.Random(0)
    for _ in range(2000):
        content = bytearray(whole)
        content[draw.randrange(100, len(content))] = draw.randrange(256)
        try:
            check_mat(bytes(content))
        except (ValueError, zlib.error):
            continue
