"""What a server does at a time, and how much it takes."""

from __future__ import annotations

from dataclasses import dataclass

from xpcnn.training.memory import as_bytes
from xpcnn.window import as_int, as_number

_WHO = "serving"
_A_DAY = 86400.0


@dataclass(frozen=True)
class Limits:
    """Settings of a server, checked; :func:`xpcnn.serving.application` describes them."""

    max_batch: int = 32
    max_delay_ms: float = 2.0
    max_size: int | str = "10MB"
    max_queue: int = 256
    timeout: float = 30.0

    def __post_init__(self) -> None:
        checked = {
            "max_batch": as_int(self.max_batch, _WHO, "max_batch", 1),
            "max_delay_ms": as_number(self.max_delay_ms, _WHO, "max_delay_ms", 0.0, 60_000.0),
            "max_size": as_bytes(self.max_size, _WHO, "max_size"),
            "max_queue": as_int(self.max_queue, _WHO, "max_queue", 1),
            "timeout": as_number(self.timeout, _WHO, "timeout", 0.001, _A_DAY),
        }
        if checked["max_delay_ms"] / 1000 >= checked["timeout"]:
            raise ValueError(
                f"{_WHO}: max_delay_ms={self.max_delay_ms:g} leaves no time to answer within the "
                f"timeout of {self.timeout:g} s; make it shorter"
            )
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def most_bytes(self) -> int:
        """The largest body."""
        return as_bytes(self.max_size, _WHO, "max_size")
