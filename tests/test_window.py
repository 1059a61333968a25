"""Window geometry against counting the positions one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import reference
from xpcnn import window as w
from xpcnn.window import Window

axis = st.fixed_dictionaries(
    {
        "n": st.integers(1, 12),
        "kernel": st.integers(1, 4),
        "stride": st.integers(1, 4),
        "dilation": st.integers(1, 3),
        "sides": st.tuples(st.integers(0, 3), st.integers(0, 3)),
    }
)
axes = st.lists(axis, min_size=1, max_size=3)


def columns(drawn):
    """Turn a list of axes into one tuple per property."""
    return tuple(tuple(a[key] for a in drawn) for key in ("n", "kernel", "stride", "dilation"))


def counted(drawn, ceil_mode=False):
    return [
        reference.starts(a["n"], a["kernel"], a["stride"], a["dilation"], a["sides"], ceil_mode)
        for a in drawn
    ]


@given(axes)
def test_output_shape_is_the_number_of_positions(drawn):
    spatial, kernel, stride, dilation = columns(drawn)
    padding = tuple(a["sides"] for a in drawn)
    window = Window.resolve(spatial, kernel, stride, padding, dilation)
    expected = tuple(len(starts) for starts in counted(drawn))
    if 0 in expected:
        with pytest.raises(ValueError, match="smaller kernel or more padding"):
            window.output_shape(spatial, "Conv2d")
    else:
        assert window.output_shape(spatial) == expected


@given(axes)
def test_tap_indexes_what_each_position_sees(drawn):
    spatial, kernel, stride, dilation = columns(drawn)
    padding = tuple(a["sides"] for a in drawn)
    window = Window.resolve(spatial, kernel, stride, padding, dilation)
    starts = counted(drawn)
    if not all(starts):
        return
    out = window.output_shape(spatial)
    padded = window.padded_shape(spatial)
    assert len(list(window.offsets())) == math.prod(kernel) == window.taps
    for offset in window.offsets():
        index = window.tap(offset, out)
        assert index[:2] == (slice(None), slice(None))
        for a, part in enumerate(index[2:]):
            seen = list(range(padded[a]))[part]
            before = padding[a][0]
            assert seen == [s + before + offset[a] * dilation[a] for s in starts[a]]


@given(axis, st.integers(0, 5))
def test_tap_with_another_first_position(drawn, first):
    window = Window((drawn["kernel"],), (drawn["stride"],), ((0, 0),), (drawn["dilation"],))
    (part,) = window.tap((drawn["kernel"] - 1,), (3,), (first,))[2:]
    last_tap = first + (drawn["kernel"] - 1) * drawn["dilation"]
    assert list(range(100))[part] == [last_tap + i * drawn["stride"] for i in range(3)]


@given(axes)
def test_same_gives_ceil_of_n_over_stride(drawn):
    spatial, kernel, stride, dilation = columns(drawn)
    window = Window.resolve(spatial, kernel, stride, "same", dilation)
    assert window.output_shape(spatial) == tuple(
        math.ceil(n / s) for n, s in zip(spatial, stride, strict=True)
    )
    assert window.padding == tuple(
        reference.same_sides(*a) for a in zip(spatial, kernel, stride, dilation, strict=True)
    )


@given(axes)
def test_ceil_mode_rounds_up(drawn):
    spatial, kernel, stride, dilation = columns(drawn)
    # as poolings have it: no window may lie wholly in the padding
    for a in drawn:
        extent = a["dilation"] * (a["kernel"] - 1) + 1
        a["sides"] = tuple(min(side, extent // 2) for side in a["sides"])
    padding = tuple(a["sides"] for a in drawn)
    window = Window.resolve(spatial, kernel, stride, padding, dilation).with_ceil(spatial)
    expected = tuple(len(starts) for starts in counted(drawn, ceil_mode=True))
    if 0 in expected:
        with pytest.raises(ValueError, match="padded input is only"):
            window.output_shape(spatial)
    else:
        assert window.output_shape(spatial) == expected
        # nothing is taken from the padding that was asked for
        for (before, after), (asked_before, asked_after) in zip(
            window.padding, padding, strict=True
        ):
            assert (before, after >= asked_after) == (asked_before, True)


@settings(max_examples=300)
@given(axis, st.booleans())
def test_ceil_mode_has_pytorchs_shape(drawn, ceil_mode):
    torch = pytest.importorskip("torch")
    # PyTorch wants the padding to be at most half of the kernel
    pad = min(drawn["sides"][0], drawn["kernel"] // 2)
    n, k, s, d = (drawn[key] for key in ("n", "kernel", "stride", "dilation"))
    window = Window.resolve((n,), (k,), (s,), (pad,), (d,))
    if ceil_mode:
        window = window.with_ceil((n,))
    pool = torch.nn.MaxPool1d(k, s, pad, d, ceil_mode=ceil_mode)
    try:
        expected = pool(torch.zeros(1, 1, n)).shape[2]
    except RuntimeError:
        with pytest.raises(ValueError, match="smaller kernel"):
            window.output_shape((n,))
    else:
        assert window.output_shape((n,)) == (expected,)


def test_hand_worked_sizes():
    # floor((5 + 2 - 1 * 2 - 1) / 2) + 1 = 3; and "same": ceil(5 / 2) = 3 with 2 in total
    window = Window.resolve((5,), (3,), (2,), (1,), (1,))
    assert (window.padding, window.output_shape((5,))) == (((1, 1),), (3,))
    assert Window.resolve((5,), (3,), (2,), "same", (1,)).padding == ((1, 1),)
    # an even kernel: the extra element goes to the end
    assert Window.resolve((5,), (2,), (1,), "same", (1,)).padding == ((0, 1),)
    assert Window.resolve((4, 4), (3, 3), (2, 2), "same", (1, 1)).padding == ((0, 1), (0, 1))
    # a stride larger than the kernel needs none
    assert Window.resolve((6,), (1,), (3,), "same", (1,)).padding == ((0, 0),)
    assert Window.resolve((6,), (5,), (1,), "valid", (1,)).padding == ((0, 0),)
    assert Window.resolve((6, 6), (3, 3), (1, 1), ((1, 2), (0, 3)), (1, 1)).padding == (
        (1, 2),
        (0, 3),
    )
    assert Window((3, 2), (1, 1), ((0, 0),) * 2, (2, 4)).extent == (5, 5)


def test_windows_are_values():
    window = Window.resolve((5,), (3,), (1,), (1,), (1,))
    assert window == Window.resolve((7,), (3,), (1,), (1,), (1,))
    assert hash(window) == hash(Window.resolve((7,), (3,), (1,), (1,), (1,)))
    assert window.is_padded
    assert not window.without_padding().is_padded
    with pytest.raises(AttributeError):
        window.kernel = (4,)


def test_as_int():
    assert w.as_int(3, "Conv2d", "groups", 1) == 3
    np = pytest.importorskip("numpy")
    assert type(w.as_int(np.int64(3), "Conv2d", "groups", 1)) is int
    for wrong in (1.0, "1", None, True, [1]):
        with pytest.raises(TypeError, match=r"Conv2d: groups must be an integer, got "):
            w.as_int(wrong, "Conv2d", "groups", 1)
    with pytest.raises(ValueError, match="Conv2d: groups must be at least 1, got 0"):
        w.as_int(0, "Conv2d", "groups", 1)


def test_as_ints():
    assert w.as_ints(3, 2, "Conv2d", "stride") == (3, 3)
    assert w.as_ints([3], 2, "Conv2d", "stride") == (3, 3)
    assert w.as_ints((1, 2), 2, "Conv2d", "stride") == (1, 2)
    with pytest.raises(ValueError, match="Conv2d: stride must be one integer or 2, one per"):
        w.as_ints((1, 2, 3), 2, "Conv2d", "stride")
    with pytest.raises(ValueError, match="Conv2d: stride must be one integer or 2"):
        w.as_ints((), 2, "Conv2d", "stride")
    with pytest.raises(TypeError, match="Conv2d: stride must be an integer or 2 of them"):
        w.as_ints("12", 2, "Conv2d", "stride")
    with pytest.raises(ValueError, match="stride must be at least 1"):
        w.as_ints((1, 0), 2, "Conv2d", "stride")


def test_as_padding():
    assert w.as_padding("same", 2, "Conv2d") == "same"
    assert w.as_padding("valid", 2, "Conv2d") == "valid"
    assert w.as_padding(1, 2, "Conv2d") == (1, 1)
    assert w.as_padding((0, 2), 2, "Conv2d") == (0, 2)
    assert w.as_padding([(0, 2)], 1, "Conv1d") == ((0, 2),)
    assert w.as_padding([[0, 2], [1, 1]], 2, "Conv2d") == ((0, 2), (1, 1))
    with pytest.raises(ValueError, match="Conv2d: padding must be 'same', 'valid', an integer"):
        w.as_padding("full", 2, "Conv2d")
    with pytest.raises(ValueError, match="padding must be at least 0, got -1"):
        w.as_padding(-1, 2, "Conv2d")
    with pytest.raises(ValueError, match=r"one \(before, after\) pair per spatial dimension"):
        w.as_padding([(0, 1)], 2, "Conv2d")
    with pytest.raises(ValueError, match="padding must be one integer or 2"):
        w.as_padding([(0, 1, 2), (0, 1, 2)], 2, "Conv2d")
    with pytest.raises(TypeError, match="padding must be an integer"):
        w.as_padding(0.5, 2, "Conv2d")


def test_the_error_of_a_kernel_that_does_not_fit_names_everything():
    window = Window.resolve((4, 9), (3, 3), (1, 1), (0, 1), (2, 1))
    with pytest.raises(ValueError, match="Conv2d 'first'") as error:
        window.output_shape((4, 9), "Conv2d 'first'")
    for part in ("covers (5, 3)", "kernel (3, 3)", "dilation (2, 1)", "(4, 11)", "input (4, 9)"):
        assert part in str(error.value)
