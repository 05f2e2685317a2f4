"""Errors that may be gone a moment later: a file system that hiccups, a connection that breaks."""

import errno

DELAYS = (1.0, 4.0, 16.0)  # seconds before the first, second and third time that something is tried again

_PASSING = {
    getattr(errno, name)
    for name in (
        "EIO", "EAGAIN", "EINTR", "EBUSY", "ESTALE", "ETIMEDOUT", "ENETDOWN", "ENETUNREACH", "ENETRESET",
        "ECONNABORTED", "ECONNRESET", "ECONNREFUSED", "EHOSTDOWN", "EHOSTUNREACH", "EREMOTEIO", "ENOLCK",
    )
    if hasattr(errno, name)
}  # fmt: skip


def is_transient(error: BaseException) -> bool:
    """Whether trying again may help, in which case a run is tried again from its last task boundary."""
    return isinstance(error, ConnectionError | TimeoutError) or (
        isinstance(error, OSError) and error.errno in _PASSING
    )
