"""Functions im2col and col2im: every order of rows and columns that courses use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpcnn._xp import Array
from xpcnn.grading import windows
from xpcnn.grading.calling import TheirError, UnrecognisedError, guarded, to_host
from xpcnn.grading.dialects import Layout, Signed, arguments, name_of, roles_of, signature
from xpcnn.grading.players import Player
from xpcnn.grading.report import Report
from xpcnn.grading.running import Family, Grading, close

CASES: list[
    tuple[str, tuple[int, ...], tuple[int, ...], int, int]
] = [  # name, shape of the image, kernel, stride, padding
    ("forward", (2, 3, 5, 5), (3, 3), 1, 0),
    ("image not square", (2, 3, 4, 6), (3, 3), 1, 0),
    ("kernel not square", (2, 3, 5, 6), (2, 3), 1, 0),
    ("stride 2", (2, 2, 7, 7), (3, 3), 2, 0),
    ("windows that do not fit", (2, 2, 6, 6), (3, 3), 2, 0),
    ("padding 1", (2, 2, 4, 4), (3, 3), 1, 1),
]


class ColumnsGrading(Grading):
    """Checks one of the two functions."""

    def __init__(self, report: Report, theirs: Any, *, back: bool) -> None:
        super().__init__(report, Player(theirs, None, ()), Family())
        self.theirs, self.back = theirs, back
        report.subject = name_of(theirs)

    def run(self) -> None:
        """Try images, and then one image without a batch, and signals."""
        failures = []
        for batch, rank in ((True, 2), (True, 1), (False, 2)):
            try:
                self._run(batch, rank)
                return
            except (TheirError, UnrecognisedError) as error:
                failures.append(str(error))
        make = f"check(lambda x, filter_h, filter_w, stride, pad: ..., like={self.report.like!r})"
        self.add("call", "wrong", self.say("unknown", why=failures[0], make=make))

    def _run(self, batch: bool, rank: int) -> None:
        first = True
        for name, whole, taps, stride, pad in CASES:
            image = whole[: 2 + rank]
            shape = image if batch else (1, 1, *image[2:])
            kernel = taps[-rank:]
            asked = [r for r, v in (("stride", stride != 1), ("pad", pad != 0)) if v]
            given = set(
                roles_of(self.theirs, ("stride", "pad", "height", "width", "size")).values()
            )
            lacking = [role for role in asked if role not in given]
            if rank == 1 and "not square" in name:
                continue
            if lacking:
                self.add(name, "not tested", self.say("not offered", what=lacking[0]))
                continue
            try:
                self._one(name, shape, kernel, stride, pad, batch)
            except TheirError as error:
                if first:
                    raise
                self.add(name, "wrong", str(error))
            first = False

    def _one(self, name: str, shape: Any, kernel: Any, stride: int, pad: int, batch: bool) -> None:
        generator = np.random.default_rng(5)
        x = generator.permutation(int(np.prod(shape))).reshape(shape) + 1.0
        pads, steps = [(pad, pad)] * len(kernel), (stride,) * len(kernel)
        cols = windows.windows(windows.padded(x, pads), kernel, steps)
        values: dict[str, Any] = {"stride": stride, "pad": pad, "size": kernel[0], "backward": True}
        values |= dict(zip(("height", "width"), kernel, strict=False))
        if len(set(kernel)) > 1:
            values["size"] = kernel
        if self.back:
            padded = (*shape[:2], *(s + 2 * pad for s in shape[2:]))
            self._back(name, cols, shape, padded, steps, pads, values, batch)
        else:
            self._there(name, x if batch else x[0, 0], cols, values)

    def _call(self, x: Array, values: dict[str, Any]) -> Array:
        names = list(signature(self.theirs))
        if not names:
            raise UnrecognisedError(f"{self.report.subject} tells nothing about its arguments")
        preferred = ("stride", "pad", "height", "width", "size", "shape")
        rest = {n: p for n, p in signature(self.theirs).items() if n != names[0]}
        chosen = arguments(Signed(rest), values, preferred, who=self.report.subject)
        array = to_host(guarded(f"{self.report.subject}(x)", self.theirs, x, **chosen))
        if array is None:
            raise TheirError(f"{self.report.subject} returned no array")
        return array

    def _there(self, name: str, x: Array, cols: Array, values: dict[str, Any]) -> None:
        kept = x.copy()
        got = self._call(x, values)
        if not np.array_equal(x, kept):
            self.add("x unchanged", "wrong", "", "forward_changes_x")
        right = next(_orders(cols))
        if any(close(got, order, 1e-9) for order in _orders(cols)):
            self.right(name)
            return
        message = self.difference("col", got, right, Layout("plain"), 1e-9)
        mistake = None
        for known, order in _wrong_orders(cols):
            if mistake is None and close(got, order, 1e-9):
                mistake = known
        self.add(name, "wrong", message, mistake)

    def _back(
        self, name: str, cols: Array, shape: Any, padded: Any, stride: Any, pads: Any,
        values: dict[str, Any], batch: bool,
    ) -> None:  # fmt: skip
        right = windows.unpadded(windows.scatter(cols, padded, stride), pads)
        values["shape"] = shape if batch else shape[2:]
        first: Array = None
        for order in _orders(cols):
            try:
                got = self._call(order.copy(), values)
            except TheirError:
                if first is None:
                    raise
                continue
            got = got if batch else got[None, None]
            first = got if first is None else first
            if close(got, right, 1e-9):
                self.right(name)
                return
        message = self.difference("image", first, right, Layout("plain"), 1e-9)
        self.add(name, "wrong", message, self._mistake(first, cols, padded, stride, pads))

    def _mistake(self, got: Array, cols: Array, padded: Any, stride: Any, pads: Any) -> str | None:
        image = windows.scatter(cols, padded, stride)
        known = [("padding_not_removed", image)]
        known += [
            (
                "col2im_overwrites",
                windows.unpadded(windows.scatter(cols, padded, stride, how), pads),
            )
            for how in ("taps", "windows")
        ]
        start = tuple(slice(0, s - 2 * lo) for s, (lo, _) in zip(padded[2:], pads, strict=True))
        known.append(("padding_removed_on_one_side", image[(..., *start)]))
        known += [("all_zero", windows.unpadded(image * 0, pads))]
        return next((name for name, value in known if close(got, value, 1e-9)), None)


def _orders(cols: Array) -> Iterator[Array]:
    """Yield the orders that are right: of (N, C, *positions, *taps)."""
    rank = (cols.ndim - 2) // 2
    positions, taps = tuple(range(2, 2 + rank)), tuple(range(2 + rank, cols.ndim))
    n, columns = cols.shape[0], int(np.prod([cols.shape[a] for a in (1, *taps)]))
    rows = np.transpose(cols, (0, *positions, 1, *taps)).reshape(-1, columns)
    yield rows
    late = np.transpose(cols, (*positions, 0, 1, *taps)).reshape(-1, columns)
    yield late
    yield rows.T
    yield late.T
    yield rows.reshape(n, -1, columns)
    yield rows.reshape(n, -1, columns).transpose(0, 2, 1)
    yield np.transpose(cols, (0, 1, *taps, *positions))
    yield np.transpose(cols, (0, *positions, 1, *taps))


def _wrong_orders(cols: Array) -> Iterator[tuple[str, Array]]:
    rank = (cols.ndim - 2) // 2
    positions, taps = tuple(range(2, 2 + rank)), tuple(range(2 + rank, cols.ndim))
    n, columns = cols.shape[0], int(np.prod([cols.shape[a] for a in (1, *taps)]))
    by_tap = np.transpose(cols, (0, *positions, *taps, 1)).reshape(-1, columns)
    yield "columns_in_wrong_order", by_tap
    yield "columns_in_wrong_order", by_tap.T
    flipped = np.transpose(cols, (0, *positions, 1, *taps[::-1])).reshape(-1, columns)
    yield "filter_transposed", flipped
    for order in ((0, 1, *taps, *positions), (0, 1, *positions, *taps)):
        yield "reshape_instead_of_transpose", np.transpose(cols, order).reshape(-1, columns)
        yield "reshape_instead_of_transpose", np.transpose(cols, order).reshape(n, -1, columns)
        yield "reshape_instead_of_transpose", np.transpose(cols, order).reshape(columns, -1)
