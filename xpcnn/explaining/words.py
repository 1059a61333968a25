"""Every sentence of an explanation, in English and in Japanese."""

from __future__ import annotations

from collections.abc import Callable

LANGUAGES = ("en", "ja")

SENTENCES: dict[str, tuple[str, str]] = {
    # -- of all operations
    "title": ("{who} step by step", "{who} の計算を一歩ずつ"),
    "input": ("The input", "入力"),
    "output": ("The output", "出力"),
    "shape": ("{name} has the shape {shape}.", "{name} の形は {shape} です。"),
    "as_batch": (
        "It is one sample; the layer takes it as a batch of one.",
        "これはサンプル1個で、層は大きさ1のバッチとして扱います。",
    ),
    "new_weights": (
        "The layer had no weights yet. Those below were drawn as on its first use, with seed 0.",
        "この層はまだ重みを持っていません。下の重みは、"
        "初回の使用時と同じ方法でシード0から生成したものです。",
    ),
    "tables_left_out": (
        "… and {count} more of these, which are left out (a larger limit= shows more).",
        "… ほか {count} 個は省略しました（limit= を大きくすると表示されます）。",
    ),
    "lines_left_out": ("… {count} more lines …", "… ほか {count} 行 …"),
    "terms_left_out": ("… {count} more terms …", "… ほか {count} 項 …"),
    "gradient_given": (
        "Backward: the gradient dy that comes from behind",
        "逆伝播：後ろの層から来る勾配 dy",
    ),
    "dy_given": (
        "dy says how much the loss grows with each output. It has the shape {shape}.",
        "dy は、各出力が増えたとき損失がどれだけ増えるかを表します。形は {shape} です。",
    ),
    "dy_ones": (
        "No dy was given, so it is 1 everywhere: the gradients below are those of the sum of all "
        "outputs.",
        "dy が渡されなかったので、すべて 1 とします。以下は出力の総和についての勾配です。",
    ),
    # -- windows
    "padding_shown": (
        "Positions below 0 and from {size} on are padding ({mode}); the window slides over them "
        "too.",
        "0 より前と {size} 以降の位置はパディング（{mode}）で、窓はその上も動きます。",
    ),
    "mode_zeros": ("zeros", "ゼロ"),
    "mode_reflect": ("mirrored at the border", "端で鏡映し"),
    "mode_replicate": ("the element at the border", "端の値の繰り返し"),
    "mode_circular": ("from the other end", "反対側の端から循環"),
    "mode_infinity": ("minus infinity, which never wins", "−∞。最大になることはありません"),
    "marks_two": (
        "Marked: [ ] and orange, under the first window; < > and blue, under the last; { } and "
        "both colours, under both.",
        "印：[ ]・オレンジは最初の窓の下、< >・青は最後の窓の下、{ } と2色は両方の窓の下です。",
    ),
    "marks_one": (
        "Marked: [ ] and orange, under the window.",
        "印：[ ]・オレンジは窓の下にある値です。",
    ),
    "size_heading": ("The size of the output", "出力の大きさ"),
    "size_text": (
        "n is the length of the input, p the padding before and behind it, k the size of the "
        "filter, d its dilation, s the stride; ⌊ ⌋ rounds down.",
        "n は入力の長さ、p は前後のパディング、k はフィルタの大きさ、d はダイレーション、s "
        "はストライド、"
        "⌊ ⌋ は切り捨てです。",
    ),
    "size_axis": ("axis {axis}: {text}", "{axis} 軸：{text}"),
    "windows_as_columns": ("im2col: one row for each window", "im2col：窓ごとに1行"),
    "columns_text": (
        "What lies under the window at one position becomes a row. A row is named after its "
        "sample "
        "n and output position, a column after its channel c and tap (the place in the filter).",
        "ある位置で窓の下にある値を1行に並べます。行はサンプル n と出力の位置、列はチャンネル c "
        "とタップ"
        "（フィルタ内の位置）で表します。",
    ),
    "columns_corner": ("position \\ tap", "位置 \\ タップ"),
    "group": ("Group {group} of {groups}: channels {channels}, filters {filters}.",
              "グループ {group}（全 {groups}）：チャンネル {channels}、フィルタ {filters}。"),
    "weights_heading": ("The weights as a matrix", "行列として見た重み"),
    "weights_text": (
        "Each filter becomes a column, its numbers in the order of the columns of col. "
        "{name} itself has the shape {shape}.",
        "フィルタ1つを1列にし、col の列と同じ順に数を並べます。{name} そのものの形は {shape} "
        "です。",
    ),
    "weights_corner": ("tap \\ filter", "タップ \\ フィルタ"),
    "bias_is": ("The bias: {numbers}.", "バイアス：{numbers}。"),
    "no_bias": ("There is no bias.", "バイアスはありません。"),
    "product_heading": ("The product", "行列の積"),
    "product_text": (
        "Each row of col times each column of the weights, plus the bias of the filter:",
        "col の各行と重みの各列の積に、フィルタのバイアスを足します。",
    ),
    "product_no_bias": (
        "Each row of col times each column of the weights:",
        "col の各行と重みの各列の積です。",
    ),
    "output_text": ("The numbers in the shape of the output, {shape}:",
                    "出力の形 {shape} に並べ直した値です。"),
    # -- backward of weights
    "db_heading": ("Backward: the bias", "逆伝播：バイアス"),
    "db_text": (
        "The bias is added at every position of every sample, so its gradient is the sum of dy "
        "over both.",
        "バイアスはすべてのサンプルのすべての位置に足されるので、勾配は dy "
        "をその全体で足したものです。",
    ),
    "dw_heading": ("Backward: the weights", "逆伝播：重み"),
    "dw_text": (
        "A weight was multiplied by one column of col, so its gradient is the sum of that column "
        "times dy.",
        "重みは col の1つの列に掛けられたので、勾配はその列と dy の積の和です。",
    ),
    "in_its_shape": ("In the shape of {name}, {shape}:", "{name} の形 {shape} では："),
    "dcol_heading": ("Backward: the columns", "逆伝播：col"),
    "dcol_text": (
        "Each number of col was multiplied by one weight of every filter:",
        "col の各数は、各フィルタの重み1つに掛けられました。",
    ),
    "col2im_heading": ("Backward: col2im, back to the input", "逆伝播：col2im で入力の形に戻す"),
    "col2im_text": (
        "An element of the input lay under several windows; its gradient is the sum of all the "
        "entries of dcol that were copied from it.",
        "入力の1要素は複数の窓の下にありました。勾配は、そこから写された dcol "
        "の要素すべての和です。",
    ),
    "col2im_padding": (
        "What falls on zeros of the padding is dropped.",
        "ゼロパディングに落ちた分は捨てます。",
    ),
    "untouched": ("0 (under no window)", "0（どの窓の下にもない）"),
}  # fmt: skip


Words = Callable[..., str]


def words(lang: str) -> Words:
    """Return a function from the name of a sentence, and what stands in it, to the sentence."""
    column = LANGUAGES.index(lang)

    def say(key: str, **values: object) -> str:
        sentence = SENTENCES[key][column]
        return sentence.format(**values) if values else sentence

    return say
