"""Settings of the whole process that code of a plugin may change: each with the way to read it and to put it back."""

from __future__ import annotations

import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE") if hasattr(signal, name)
)  # those that end a run, and those that end a process whose output nobody reads


@dataclass(frozen=True)
class ProcessSetting:
    """A setting.

    Attributes:
        read: Its value, in a few microseconds: it is read in every step.
        write: Puts a value back.
        change: The change from one value to another, as what somebody did; empty if the plugin may make it.
        module: The module that it is a setting of; before that is imported, there is nothing to read.
    """

    read: Callable[[], Any]
    write: Callable[[Any], object]
    change: Callable[[Any, Any], str]
    module: str = "sys"


# signal.getsignal looks each handler up in an enumeration, which would take half of the time of a border.
_read_handler: Callable[[int], Any] = getattr(sys.modules.get("_signal"), "getsignal", signal.getsignal)


def _signal_handlers() -> tuple[Any, ...]:
    return tuple(map(_read_handler, _SIGNALS))


def _set_signal_handlers(handlers: tuple[Any, ...]) -> None:
    if threading.current_thread() is not threading.main_thread():  # no other may, and none can have changed them
        return
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None:  # of another language
            signal.signal(number, handler)


def _changed_signals(before: tuple[Any, ...], now: tuple[Any, ...]) -> str:
    names = [number.name for number, old, new in zip(_SIGNALS, before, now, strict=True) if old is not new]
    return f"replaced the signal handler of {', '.join(names)}"


class _Umask:
    """The umask of the process, which can only be read by setting it.

    It is set to what it was last, so that no other thread creates a file with other permissions meanwhile.
    """

    def __init__(self) -> None:
        self._last = 0o077
        self._lock = threading.Lock()

    def read(self) -> int:
        with self._lock:
            mask = os.umask(self._last)
            if mask != self._last:
                os.umask(mask)
                self._last = mask
            return mask


def _working_folder() -> str | None:
    """The working directory, if it has not been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


def _set_working_folder(folder: str | None) -> None:
    if folder is not None:
        os.chdir(folder)


def _warning_filters() -> tuple[tuple[Any, ...], Any]:
    return tuple(warnings.filters), warnings.showwarning


def _set_warning_filters(before: tuple[tuple[Any, ...], Any]) -> None:
    filters, warnings.showwarning = before
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


def _changed_warning_filters(before: tuple[tuple[Any, ...], Any], now: tuple[tuple[Any, ...], Any]) -> str:
    """Filters for a category or module of their own are left to plugins: libraries add them at import."""
    if now[1] is not before[1]:
        return "replaced warnings.showwarning"
    old, new = ([found for entry in entries if (found := _broad(entry))] for entries in (before[0], now[0]))
    if old == new:
        return ""
    if len(new) < len(old):
        return "removed warnings filters"
    action, category = new[0]  # a filter is added in front of the others
    return f"set the warnings filter {action!r} for {category.__name__} of all modules"


def _broad(entry: tuple[Any, ...]) -> tuple[str, type[Warning]] | None:
    """Action and category of a warnings filter that reaches code of others: ours, or all that is made an error."""
    action, message, category, module, _ = entry
    if message or module or not (action == "error" or issubclass(UserWarning, category)):
        return None
    return action, category


def _torch() -> Any:
    return sys.modules["torch"]


def _default_device() -> Any:
    return _torch().empty(0).device  # get_default_device is slower


def _set_default_device(device: Any) -> None:
    _torch().set_default_device(None if device.type == "cpu" else device)


def _deterministic() -> tuple[bool, bool]:
    torch = _torch()
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _set_deterministic(before: tuple[bool, bool]) -> None:
    _torch().use_deterministic_algorithms(before[0], warn_only=before[1])


def _autocast() -> bool:
    enabled: bool = _torch().is_autocast_enabled("cpu")
    return enabled


def _cudnn() -> tuple[bool, bool, bool]:
    found = _torch().backends.cudnn
    return found.enabled, found.benchmark, found.deterministic


def _set_cudnn(before: tuple[bool, bool, bool]) -> None:
    found = _torch().backends.cudnn
    found.enabled, found.benchmark, found.deterministic = before


def _switched(what: str) -> Callable[[Any, Any], str]:
    return lambda before, now: f"turned {what} {'on' if now else 'off'}"


def _set_to(what: str, show: Callable[[Any], Any] = str) -> Callable[[Any, Any], str]:
    return lambda before, now: f"set {what} to {show(now)}"


SETTINGS = (
    ProcessSetting(
        _working_folder,
        _set_working_folder,
        lambda before, now: "" if before is None else "changed the working directory",
    ),
    ProcessSetting(_signal_handlers, _set_signal_handlers, _changed_signals),
    ProcessSetting(_Umask().read, os.umask, _set_to("the umask", "{:03o}".format)),
    ProcessSetting(
        lambda: locale.setlocale(locale.LC_ALL),
        lambda name: locale.setlocale(locale.LC_ALL, name),
        _set_to("the locale"),
    ),
    ProcessSetting(_warning_filters, _set_warning_filters, _changed_warning_filters),
    ProcessSetting(
        lambda: sys.modules["numpy"].geterr(),
        lambda before: sys.modules["numpy"].seterr(**before),
        _set_to("numpy's handling of errors"),
        "numpy",
    ),
    ProcessSetting(
        lambda: _torch().get_default_dtype(),
        lambda dtype: _torch().set_default_dtype(dtype),
        _set_to("torch's default dtype"),
        "torch",
    ),
    ProcessSetting(_default_device, _set_default_device, _set_to("torch's default device"), "torch"),
    ProcessSetting(
        lambda: _torch().is_grad_enabled(), lambda on: _torch().set_grad_enabled(on), _switched("gradients"), "torch"
    ),
    ProcessSetting(
        _deterministic,
        _set_deterministic,
        lambda before, now: _switched("torch's deterministic algorithms")(before, now[0]),
        "torch",
    ),
    ProcessSetting(
        lambda: _torch().get_num_threads(),
        lambda count: _torch().set_num_threads(count),
        _set_to("torch's number of threads"),
        "torch",
    ),
    ProcessSetting(
        _autocast, lambda on: _torch().set_autocast_enabled("cpu", on), _switched("torch's autocast"), "torch"
    ),
    ProcessSetting(
        lambda: _torch().is_anomaly_enabled(),
        lambda on: _torch().autograd.set_detect_anomaly(on),
        _switched("torch's detection of anomalies"),
        "torch",
    ),
    ProcessSetting(
        lambda: _torch().get_float32_matmul_precision(),
        lambda name: _torch().set_float32_matmul_precision(name),
        _set_to("torch's precision of float32 products"),
        "torch",
    ),
    ProcessSetting(_cudnn, _set_cudnn, lambda before, now: "changed the settings of cuDNN", "torch"),
)
