"""Pickles of arrays, strings, numbers, lists and dicts, read without running any code that a file names."""

from __future__ import annotations

import io
import pickle
from typing import Any, NoReturn

import numpy as np

_MULTIARRAY = np.zeros(1).__reduce__()[
    0
]  # numpy's function that makes an array, whatever module this version has it in
_FROM_BUFFER = np.zeros(1).__reduce_ex__(5)[0]  # the same, for pickles of protocol 5


def _encode(text: str, encoding: str) -> bytes:
    """Bytes as protocol 2 of Python 3 writes them."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text in the encoding {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _MULTIARRAY for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FROM_BUFFER for core in ("core", "_core")},
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is neither an array, a string nor a dict")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it refers to objects outside of it")


def load_pickle(content: bytes) -> Any:
    """Read a pickle, also one that Python 2 has written; text of Python 2 is read as latin-1.

    Raises:
        pickle.UnpicklingError: It is damaged, or asks for anything but arrays and plain values.
    """
    try:
        return _Restricted(io.BytesIO(content), encoding="latin1").load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes happen to call for
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error
