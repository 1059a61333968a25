"""Processes that read batches of a data set ahead of their turn."""

from __future__ import annotations

import multiprocessing
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np

from xpcnn.errors import SampleError
from xpcnn.interrupts import deferred
from xpcnn.kernels.threads import hold_blas, set_num_threads
from xpcnn.training.sources.reader import Reader
from xpcnn.training.sources.streams import Raw

METHOD = "fork" if sys.platform.startswith("linux") else "spawn"
"""How processes start: as copies of this one where that is safe."""
PATIENCE = 5.0
"""Seconds that a process has to end before it is killed."""
_ERRORS: dict[str, type[Exception]] = {"ValueError": ValueError, "TypeError": TypeError}


class Workers:
    """Processes that share the batches of each epoch in turn, and hand them over in order.

    Each has one batch ready ahead at most: it waits with it until it is taken.

    Parameters
    ----------
    reader : Reader
    count : int
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader, self._count = reader, count
        self._processes: list[Any] = []
        self._connections: list[Connection] = []

    def each(self, epoch: int) -> Iterator[tuple[np.ndarray, Raw]]:
        """Yield the batches of an epoch with the numbers of their samples.

        If it is not gone through to its end, the processes end.

        Raises
        ------
        SampleError
            If a sample could not be read, or a process ended.
        """
        done = False
        try:
            if not self._processes:
                self._start()
            for worker, connection in enumerate(self._connections):
                self._tell(worker, connection, epoch)
            for batch, indices in enumerate(self._reader.order.epoch(epoch)):
                yield indices, self._take(batch % self._count, indices)
            done = True
        finally:
            if not done:
                self.close()

    def close(self) -> None:
        """End the processes."""
        with deferred():
            processes, self._processes = self._processes, []
            connections, self._connections = self._connections, []
            for connection in connections:
                connection.close()
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(PATIENCE)
                if process.is_alive():
                    process.kill()
                    process.join()
                process.close()

    def _start(self) -> None:
        context: Any = multiprocessing.get_context(METHOD)
        who = self._reader.who
        with deferred(), warnings.catch_warnings():
            # Libraries warn of forks beside threads; those of ours have ended by then, and the
            # processes use none.
            warnings.simplefilter("ignore")
            for worker in range(self._count):
                ours, theirs = context.Pipe()
                inherited = [*self._connections, ours] if METHOD == "fork" else []
                arguments = (self._reader, worker, self._count, theirs, inherited)
                process = context.Process(target=_work, args=arguments, daemon=True)
                try:
                    process.start()
                except Exception as error:
                    ours.close()
                    raise _cannot_start(who, self._reader.data, error) from error
                finally:
                    theirs.close()
                self._processes.append(process)
                self._connections.append(ours)

    def _tell(self, worker: int, connection: Connection, epoch: int) -> None:
        try:
            connection.send(epoch)
        except OSError:
            raise self._ended(worker) from None

    def _take(self, worker: int, indices: np.ndarray) -> Raw:
        connection, process = self._connections[worker], self._processes[worker]
        wait([connection, process.sentinel])
        try:
            what, *found = connection.recv()
            if what == "sample":
                message, sample, text = found
                problem = SampleError(message, sample=sample, text=text)
                problem.add_note(f"In the worker process:\n{text}")
                raise problem
            if what == "failed":
                raise _ERRORS.get(found[0], RuntimeError)(found[1])
            return Raw(*(_unpacked(part, connection) for part in found))
        except (EOFError, OSError):
            raise self._ended(worker, indices) from None

    def _ended(self, worker: int, indices: Sequence[int] | np.ndarray = ()) -> SampleError:
        process = self._processes[worker]
        process.join(PATIENCE)
        some = ", ".join(str(int(i)) for i in indices[:8]) + (", ..." if len(indices) > 8 else "")
        what = f" while the samples {some} were read" if len(indices) else ""
        return SampleError(
            f"{self._reader.who}: worker process {worker + 1} of {self._count} has ended{what}, "
            f"exit code {process.exitcode}; if it is negative, a signal ended it, as the system "
            "sends where memory runs out: try fewer workers, or workers=0 to see the error",
            sample=None,
        )


def _cannot_start(who: str, data: Any, error: Exception) -> Exception:
    if multiprocessing.current_process().daemon:
        return RuntimeError(
            f"{who}: workers cannot be started from a process that is a worker itself; use "
            "workers=0 there"
        )
    if METHOD == "fork":
        return RuntimeError(f"{who}: a worker process cannot be started ({error}); use workers=0")
    return TypeError(
        f"{who}: workers need a data set that can be sent to another process, and "
        f"{type(data).__name__} cannot be pickled ({error}); define its class, and the functions "
        "it holds, at the top of a module, or use workers=0"
    )


def _work(
    reader: Reader, worker: int, count: int, connection: Connection, inherited: list[Connection]
) -> None:
    """Read every `count`-th batch of each epoch that is asked for; what a process does."""
    for other in inherited:  # or nobody would see that the first process has ended
        other.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    set_num_threads(1)
    hold_blas()
    try:
        while True:
            epoch = connection.recv()
            for batch, indices in enumerate(reader.order.epoch(epoch)):
                if batch % count == worker:
                    _send(connection, reader, epoch, batch, indices)
    except (EOFError, OSError):  # nobody wants more
        pass


def _send(
    connection: Connection, reader: Reader, epoch: int, batch: int, indices: np.ndarray
) -> None:
    try:
        raw = reader.read(epoch, batch, indices)
    except SampleError as error:
        connection.send(("sample", str(error), error.sample, error.text))
        return
    except Exception as error:
        connection.send(("failed", type(error).__name__, str(error)))
        return
    arrays: list[np.ndarray] = []
    connection.send(("batch", *(_packed(part, arrays) for part in raw)))
    for array in arrays:
        connection.send_bytes(_as_bytes(array))


class _Place(tuple[Any, ...]):
    """Shape and dtype of an array that follows."""


def _packed(part: Any, arrays: list[np.ndarray]) -> Any:
    """Put places where arrays are, which are listed."""
    if isinstance(part, dict):
        return {key: _packed(inner, arrays) for key, inner in part.items()}
    if isinstance(part, tuple):
        return tuple(_packed(inner, arrays) for inner in part)
    if not isinstance(part, np.ndarray) or part.dtype.hasobject:
        return part
    arrays.append(part)
    return _Place((part.shape, part.dtype.str))


def _unpacked(part: Any, connection: Connection) -> Any:
    """Put the arrays that follow into their places."""
    if isinstance(part, dict):
        return {key: _unpacked(inner, connection) for key, inner in part.items()}
    if isinstance(part, _Place):
        array = np.empty(part[0], part[1])
        connection.recv_bytes_into(_as_bytes(array))
        return array
    if isinstance(part, tuple):
        return tuple(_unpacked(inner, connection) for inner in part)
    return part


def _as_bytes(array: np.ndarray) -> Any:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
