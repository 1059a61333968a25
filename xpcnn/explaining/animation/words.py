"""Every sentence of an animation, in English and in Japanese, under the same keys."""

from __future__ import annotations

ENGLISH = {
    "forward": "{name} · forward",
    "backward": "{name} · backward",
    "weights": "{name} · backward, the filter",
    "weight_sums": (
        "Window {step} of {total}: what lay under it, row {row} of the matrix, is multiplied by "
        "{source} and added to dW. At the end all windows have added their share."
    ),
    "one_sample": "dW adds up all {n} samples; this is the share of sample {sample} alone.",
    "some_windows": "The sums are those of {shown} windows of {total}; dW has all of them.",
    "batch": "sample {sample} of {n}",
    "channel": "channel {channel}",
    "padded": "{name} with padding",
    "window": "window",
    "matrix": "im2col matrix",
    "matrix_gradient": "{name}: rows to be added (col2im)",
    "running": "{name} (running sums)",
    "more": "… ({n} more terms)",
    "conv": (
        "Window {step} of {total}: the numbers under it are row {row} of the matrix. "
        "Times the filter and summed up, they give {target} = {value}."
    ),
    "conv_bias": (
        "Window {step} of {total}: the numbers under it are row {row} of the matrix. "
        "Times the filter, summed up, plus the bias, they give {target} = {value}."
    ),
    "max": (
        "Window {step} of {total}: the numbers under it are row {row} of the matrix. "
        "The largest of them is {target} = {value}."
    ),
    "mean": (
        "Window {step} of {total}: the numbers under it are row {row} of the matrix. "
        "Their sum, divided by {divisor}, is {target} = {value}."
    ),
    "scatter": (
        "Step {step} of {total}: {source} times the filter is row {row}. It is added to {target} "
        "under the window; where windows overlap, the sums grow."
    ),
    "scatter_max": (
        "Step {step} of {total}: {source} goes to where the largest number was, the others under "
        "the window get 0; where windows overlap, the sums grow."
    ),
    "scatter_mean": (
        "Step {step} of {total}: {source} / {divisor} is added to all of {target} under the "
        "window; where windows overlap, the sums grow."
    ),
    "cut": "Last, the padding is cut off: what was added there is dropped.",
    "folded": "Last, what was added to the padding goes to the numbers that it was copied from.",
    "bias": "Last, the bias {value} is added to all of {target}.",
    "cut_bias": "Last, the padding is cut off, and the bias {value} is added to all of {target}.",
    "ones": "No dy was given: it is all ones here.",
    "drawn": "The layer has no weights yet: these were drawn for the picture.",
    "corner": "Only the first {rows} × {columns} of {all_rows} × {all_columns} are shown.",
    "corner_1d": "Only the first {columns} of {all_columns} are shown.",
    "frames": "{shown} of {total} windows are shown; those between are filled in at once.",
    "channels": "{shown} of {total} channels of {name} are shown; the sums are of all.",
    "columns": "{shown} of {total} columns of the matrix are shown; the sums are of all.",
    "first": "First step",
    "last": "Last step",
    "play": "Play",
    "pause": "Pause",
    "back": "Back",
    "next": "Next",
    "position": "Step",
}

JAPANESE = {
    "forward": "{name} · 順伝播",
    "backward": "{name} · 逆伝播",
    "weights": "{name} · 逆伝播（フィルタの勾配）",
    "weight_sums": (
        "窓 {step} / {total}：窓の下の数（行列の行 {row}）に {source} を掛けて dW に足します。"
        "最後の窓まで足すと dW になります。"
    ),
    "one_sample": (
        "dW は {n} 個のサンプルすべての和です。ここに示すのはサンプル {sample} の分です。"
    ),
    "some_windows": "ここでの和は {total} 個の窓のうち {shown} 個の分で、dW は全部の窓の和です。",
    "batch": "{n} 個のサンプルのうち {sample} 番",
    "channel": "チャンネル {channel}",
    "padded": "{name}（パディング付き）",
    "window": "窓",
    "matrix": "im2col 行列",
    "matrix_gradient": "{name}：加える行 (col2im)",
    "running": "{name}（途中までの和）",
    "more": "…（ほか {n} 項）",
    "conv": (
        "窓 {step} / {total}：窓の下の数が行列の行 {row} になります。"
        "フィルタを掛けて合計すると {target} = {value} です。"
    ),
    "conv_bias": (
        "窓 {step} / {total}：窓の下の数が行列の行 {row} になります。"
        "フィルタを掛けて合計し、バイアスを足すと {target} = {value} です。"
    ),
    "max": (
        "窓 {step} / {total}：窓の下の数が行列の行 {row} になります。"
        "その最大値が {target} = {value} です。"
    ),
    "mean": (
        "窓 {step} / {total}：窓の下の数が行列の行 {row} になります。"
        "合計を {divisor} で割ると {target} = {value} です。"
    ),
    "scatter": (
        "ステップ {step} / {total}：{source} にフィルタを掛けたものが行 {row} です。"
        "これを窓の下の {target} に加えます。窓が重なる所では和が増えていきます。"
    ),
    "scatter_max": (
        "ステップ {step} / {total}：{source} は最大値のあった場所へ戻り、窓の下のほかの場所は 0 "
        "です。窓が重なる所では和が増えていきます。"
    ),
    "scatter_mean": (
        "ステップ {step} / {total}：{source} / {divisor} を窓の下の {target} すべてに加えます。"
        "窓が重なる所では和が増えていきます。"
    ),
    "cut": "最後にパディングを切り取ります。そこに加えたものは捨てられます。",
    "folded": "最後に、パディングに加えたものを、その値のコピー元に戻します。",
    "bias": "最後に、{target} のすべてにバイアス {value} を足します。",
    "cut_bias": "最後にパディングを切り取り、{target} のすべてにバイアス {value} を足します。",
    "ones": "dy が与えられていないので、すべて 1 としています。",
    "drawn": "この層にはまだ重みがないので、この図のために乱数で作りました。",
    "corner": "{all_rows} × {all_columns} のうち、左上の {rows} × {columns} だけを示します。",
    "corner_1d": "{all_columns} 個のうち、最初の {columns} 個だけを示します。",
    "frames": "{total} 個の窓のうち {shown} 個を示します。間の窓はまとめて埋めます。",
    "channels": "{name} の {total} チャンネルのうち {shown} つを示します。和は全部のものです。",
    "columns": "行列の {total} 列のうち {shown} 列を示します。和は全部の列のものです。",
    "first": "最初のステップ",
    "last": "最後のステップ",
    "play": "再生",
    "pause": "一時停止",
    "back": "戻る",
    "next": "進む",
    "position": "ステップ",
}

WORDS = {"en": ENGLISH, "ja": JAPANESE}
