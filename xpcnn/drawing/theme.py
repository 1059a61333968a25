"""Colours of drawings and tables, for light and dark pages.

What is shown has a background of its own, so that it can be read wherever it stands.
"""

from __future__ import annotations

LIGHT = {
    "page": "#ffffff",
    "ink": "#1b2430",
    "soft": "#525c6b",
    "line": "#67728a",
    "rule": "#d5dae2",
    "conv": "#d9eaf8", "conv-edge": "#0072b2",
    "pool": "#fdebc8", "pool-edge": "#b97800",
    "norm": "#f7f4c0", "norm-edge": "#8c8400",
    "act": "#d6f0e6", "act-edge": "#00825f",
    "linear": "#f5e1ee", "linear-edge": "#a84f80",
    "join": "#fbdfd0", "join-edge": "#c24e00",
    "block": "#e6e9f2", "block-edge": "#3d4a66",
    "other": "#eff1f4", "other-edge": "#7b8494",
    "end": "#ffffff", "end-edge": "#1b2430",
}  # fmt: skip
DARK = {
    "page": "#14181f",
    "ink": "#eef2f8",
    "soft": "#b3bdcc",
    "line": "#98a5ba",
    "rule": "#364050",
    "conv": "#0d324d", "conv-edge": "#56b4e9",
    "pool": "#453207", "pool-edge": "#e69f00",
    "norm": "#3b390c", "norm-edge": "#d8cf3c",
    "act": "#0b3a2d", "act-edge": "#1fbf92",
    "linear": "#43233a", "linear-edge": "#dd8cb9",
    "join": "#4b2408", "join-edge": "#f0854a",
    "block": "#272e3f", "block-edge": "#a9b6d3",
    "other": "#262c35", "other-edge": "#8b95a5",
    "end": "#14181f", "end-edge": "#eef2f8",
}  # fmt: skip
