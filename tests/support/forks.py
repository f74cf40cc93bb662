"""Bodies of tests in forked children."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_child(body: Callable[[], object], first: Callable[[], object] = lambda: None) -> None:
    """Runs body in a forked child, after `first` in the parent; what it raises fails the test."""
    reading, writing = os.pipe()
    waiting, go = os.pipe()
    child = os.fork()
    if child == 0:
        failed = 1
        try:
            os.close(go)
            os.read(waiting, 1)
            body()
            failed = 0
        except BaseException:
            os.write(writing, traceback.format_exc()[-4000:].encode())
        finally:
            os._exit(failed)
    os.close(writing)
    os.close(waiting)
    try:
        first()
    finally:
        os.close(go)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    assert status == 0, said or f"status {status}"
