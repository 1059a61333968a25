"""What goes wrong with a request, and with which HTTP status it is answered."""

from __future__ import annotations

from collections.abc import Mapping


class Problem(Exception):  # noqa: N818 - as in RFC 9457, "Problem Details for HTTP APIs"
    """A request that is refused.

    Parameters
    ----------
    status : int
        Of HTTP: 4xx if the client can mend it, 5xx if the server cannot serve it now.
    text : str
        What is wrong, what was expected, and the fix; it goes to the client.
    headers : mapping, optional
        More headers of the answer.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


def busy(text: str) -> Problem:
    """Build the answer of a server that has too much to do."""
    return Problem(503, f"{text}; try again later", {"Retry-After": "1"})
