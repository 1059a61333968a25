"""Ctrl-C while the command starts, before there is anything that could deal with it.

Importing the package takes a moment. In the command, and there alone, Ctrl-C ends the process in
that time without a traceback.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

INTERRUPTED = 130


def is_command() -> bool:
    """Whether this process is the command ``xpcnn`` or ``python -m xpcnn``."""
    words = sys.orig_argv
    if "-m" in words[:-1] and words[words.index("-m") + 1] == "xpcnn":
        return True
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return name in ("xpcnn", "xpcnn.exe", "xpcnn-script.py")


def quit_at_once(number: int, frame: Any) -> None:
    """End the process."""
    os.write(2, b"xpcnn: interrupted\n")
    os._exit(INTERRUPTED)


def begin() -> None:
    """End the process on Ctrl-C from now on, if it is the command."""
    main_thread = threading.current_thread() is threading.main_thread()
    is_default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if main_thread and is_default and is_command():
        signal.signal(signal.SIGINT, quit_at_once)


def end() -> None:
    """Let Ctrl-C be an exception again."""
    if signal.getsignal(signal.SIGINT) is quit_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def leave() -> None:
    """Let Ctrl-C do nothing while the command's process ends."""
    if is_command() and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


begin()
