"""``xpcnn serve FILE``."""

from __future__ import annotations

import argparse
import errno
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xpcnn.cli.common import describe_device, load_model, say
from xpcnn.cli.train import Terminated
from xpcnn.serving import application, check_installed
from xpcnn.serving.limits import Limits

LIMITS = ("max_batch", "max_delay_ms", "max_size", "max_queue", "timeout")


def run(args: argparse.Namespace) -> None:
    """Serve a model until the process is told to end."""
    try:
        check_installed()
    except ImportError as error:
        raise RuntimeError(str(error)) from None
    limits = {name: getattr(args, name) for name in LIMITS if getattr(args, name) is not None}
    try:
        Limits(**limits)
    except ValueError as error:
        args.usage_error(str(error))
    with listening(args.host, args.port) as door:  # first, since a model takes long to load
        model = load_model(args.model, args.device, args.precision)
        app = application(model, **limits)
        say(f"device: {describe_device(model.device)}")
        say(f"serving {args.model} at {_address(door)} (Ctrl-C ends)")
        if not _is_loopback(door):
            say("everybody who reaches this machine can use it: there are no passwords")
        _serve(app, door, Limits(**limits).timeout)


def _serve(app: Any, door: socket.socket, timeout: float) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=max(1, round(timeout)),
    )
    with _sigterm_is_an_exception():
        # It answers what has come when a signal comes, and then raises the signal once more.
        uvicorn.Server(config).run(sockets=[door])


@contextmanager
def _sigterm_is_an_exception() -> Iterator[None]:
    def end(number: int, frame: Any) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises
    ------
    OSError
        If that is not possible; it says why.
    """
    try:
        if port > 65535:
            raise OverflowError
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # asyncio turns delays off (TCP_NODELAY) only where the protocol is stated, which
        # socket.create_server leaves out: each answer would wait for 40 ms.
        door = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # where it would let others take the port over
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(address)
            door.listen(2048)
        except BaseException:
            door.close()
            raise
        return door
    except socket.gaierror as error:
        raise OSError(f"there is no address {host!r} to listen at: {error.strerror}") from None
    except OverflowError:
        raise OSError(f"there is no port {port}; they go up to 65535") from None
    except OSError as error:
        reasons = {
            errno.EADDRINUSE: "another program listens there; give another --port, or 0 for any",
            errno.EACCES: "ports below 1024 are for administrators; give another --port",
            errno.EADDRNOTAVAIL: "this machine has no such address; give another --host",
        }
        reason = reasons.get(error.errno or 0, error.strerror or str(error))
        raise OSError(f"cannot listen at {host}, port {port}: {reason}") from None


def _address(door: socket.socket) -> str:
    host, port = door.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_loopback(door: socket.socket) -> bool:
    host = door.getsockname()[0]
    return bool(host == "::1" or host.startswith("127."))
