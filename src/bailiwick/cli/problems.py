"""What an operator can put right, told in a line instead of a traceback."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator

from bailiwick.kernel.errors import BailiwickError, Misconfigured


@contextlib.contextmanager
def told_in_a_line(status: int = 1) -> Iterator[None]:
    """Ends the process with a status and the reason: a wrong setting, a database out of reach, a file, a refusal.

    Anything else stays a traceback, as it is ours to put right.
    """
    try:
        yield
    except BrokenPipeError:  # the reader, as `head` does, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        reason = _reason(error)
        if reason is None or os.environ.get("BAILIWICK_LOG_LEVEL") == "DEBUG":
            raise
        print(f"bailiwick: {reason}", file=sys.stderr)
        sys.exit(status)


def _reason(error: Exception) -> str | None:
    # Loaded for this alone: a command starts without them.
    import psycopg
    from pydantic import ValidationError
    from pydantic_settings import SettingsError
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, ValidationError) and error.title == "Settings":
        wrong = (
            f"BAILIWICK_{'.'.join(map(str, problem['loc'])).upper()}: {problem['msg'].removeprefix('Value error, ')}"
            for problem in error.errors()
        )
        return "\n".join([*wrong, "`bailiwick settings` lists what each setting takes."])
    if isinstance(error, SettingsError):
        return f"{error}: a list or an object is written as JSON; `bailiwick settings` lists what each setting takes."
    if isinstance(error, psycopg.OperationalError | psycopg.ProgrammingError | OperationalError | InterfaceError):
        return f"the database (BAILIWICK_DATABASE_URL, or the data folder's): {str(error).strip()}"
    if isinstance(error, BailiwickError | Misconfigured):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket bound to `host` and `port`, on which nobody listens yet; ends the process when somebody else does."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:
        sys.exit(f"bailiwick: there is no host {host!r} to listen on (--host, BAILIWICK_HOST): {error}")
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        sys.exit(f"bailiwick: cannot listen on {host}:{port} (--port, BAILIWICK_PORT): {error.strerror}")
    return bound
