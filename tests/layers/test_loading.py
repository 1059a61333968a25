"""Loading a state that fits in part: what is skipped, and what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

import xpcnn
from xpcnn import interop
from xpcnn.layers.loading import LoadedNames


def network() -> xpcnn.Sequential:
    return xpcnn.Sequential(xpcnn.Linear(3, 4), xpcnn.BatchNorm1d(4), xpcnn.Linear(4, 2))


def other_state(classes: int = 5) -> dict[str, np.ndarray]:
    """The state of a network with another head, of which every number is one."""
    net = xpcnn.Sequential(*network().layers[:2], xpcnn.Linear(4, classes))
    net.build((1, 3))
    return {name: np.ones_like(array) for name, array in net.state_dict().items()}


@pytest.mark.parametrize("kind", ["layer", "model", "unbuilt", "file", "load_weights"])
def test_what_does_not_fit_stays_as_it_is(kind, tmp_path):
    net, state = network(), other_state()
    model = xpcnn.Model(net, device="cpu", seed=0)
    if kind != "unbuilt":
        model.build((None, 3))
        before = {name: array.copy() for name, array in model.state_dict().items()}
    del state["0.bias"]
    state["extra"] = np.ones(2)
    if kind == "layer":
        found = net.load_state_dict(state, strict=False, skip_mismatch=True)
    elif kind == "file":
        from safetensors.numpy import save_file

        save_file(state, tmp_path / "weights.safetensors")
        path = tmp_path / "weights.safetensors"
        found = model.load_state_dict(path, strict=False, skip_mismatch=True)
    elif kind == "load_weights":
        np.savez(tmp_path / "weights.npz", **state)
        path = tmp_path / "weights.npz"
        found = interop.load_weights(model, path, strict=False, skip_mismatch=True)
    else:
        found = model.load_state_dict(state, strict=False, skip_mismatch=True)
    missing, unexpected = found
    assert missing == ["0.bias"]
    assert unexpected == ["extra"]
    assert found.mismatched_keys == ["2.weight", "2.bias"]
    assert "mismatched_keys=['2.weight', '2.bias']" in repr(found)
    model.build((None, 3))
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], 1.0)
    np.testing.assert_array_equal(after["1.running_var"], 1.0)
    assert after["2.weight"].shape == (2, 4)
    if kind != "unbuilt":
        for name in ("0.bias", "2.weight", "2.bias"):
            np.testing.assert_array_equal(after[name], before[name])


def test_all_that_fits():
    found = network().load_state_dict(other_state(2), strict=False, skip_mismatch=True)
    assert found == LoadedNames([], [])
    assert found.mismatched_keys == []


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"strict": False}, r"misshapen: 2\.weight has shape \(5, 4\), expected \(2, 4\)"),
        ({}, {"skip_mismatch": True}, "skip_mismatch=True needs strict=False"),
        (
            {"0.weight": np.full((4, 3), "a")},
            {"strict": False, "skip_mismatch": True},
            "unusable: 0.weight",
        ),
    ],
)
def test_what_is_refused_changes_nothing(change, options, message):
    net = network()
    net.build((1, 3))
    before = {name: array.copy() for name, array in net.state_dict().items()}
    with pytest.raises((ValueError, TypeError), match=message):
        net.load_state_dict(other_state() | change, **options)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_nothing_that_fits_is_an_error():
    state = {n: a for n, a in other_state().items() if n.startswith("2.")}
    with pytest.raises(ValueError, match="nothing would be loaded, since all .* '2.weight'"):
        network().load_state_dict(state, strict=False, skip_mismatch=True)
