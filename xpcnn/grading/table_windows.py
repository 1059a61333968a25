"""Mistakes in convolution and pooling, and in gradients in general.

The key is the name of the mistake; the texts are what it looks like, in English and Japanese, and
how to mend it, in both.
"""

TABLE: dict[str, tuple[str, str, str, str]] = {
    # -- convolution, forward
    "filter_flipped": (
        "the filter is flipped: this is a convolution instead of a cross-correlation",
        "フィルターが反転しています。相互相関ではなく数学の畳み込みになっています",
        "Multiply the window with W as it is, without [::-1].",
        "ウィンドウと W をそのまま掛けます。[::-1] は不要です。",
    ),
    "filter_transposed": (
        "the height and width of the filter are exchanged",
        "フィルターの高さと幅が入れ替わっています",
        "Keep the order (filters, channels, height, width) in reshape and transpose.",
        "reshape と transpose で (フィルター数, チャンネル, 高さ, 幅) の順を保ちます。",
    ),
    "bias_missing": (
        "the bias is not added",
        "バイアスが足されていません",
        "Add b once to each output: out = col @ W + b.",
        "出力に b を一度足します: out = col @ W + b。",
    ),
    "bias_added_too_often": (
        "the bias is added more than once to each output",
        "バイアスが 1 つの出力に何度も足されています",
        "Add b after the sum over channels and taps, outside of those loops.",
        "チャンネルやタップの和を取った後、ループの外で b を一度だけ足します。",
    ),
    "bias_sign": (
        "the bias is subtracted",
        "バイアスが引かれています",
        "Add b instead of subtracting it.",
        "b は引かずに足します。",
    ),
    "columns_in_wrong_order": (
        "the columns of im2col are in another order than the weights (taps and channels exchanged)",
        "im2col の列の順が重みと違います(タップとチャンネルが入れ替わっています)",
        "Order a row of im2col as W.reshape(n_filters, -1) is: channel, then tap.",
        "im2col の行は W.reshape(フィルター数, -1) と同じく、チャンネル、タップの順に並べます。",
    ),
    "reshape_instead_of_transpose": (
        "the numbers are right but in the wrong places: reshape is used where axes must be moved",
        "値は正しいのに位置が違います。軸の入れ替えに reshape を使っています",
        "reshape never moves numbers; use reshape(N, out_h, out_w, -1).transpose(0, 3, 1, 2).",
        "reshape は値を動かしません。reshape(N, out_h, out_w, -1).transpose(0, 3, 1, 2) とします。",
    ),
    "only_first_channel": (
        "only the first channel of the input is used",
        "入力の最初のチャンネルしか使われていません",
        "Sum over all channels.",
        "すべてのチャンネルについて和を取ります。",
    ),
    "only_last_channel": (
        "only the last channel of the input counts: the others are overwritten",
        "最後のチャンネルしか残っていません(上書きされています)",
        "Use += over the channels instead of =.",
        "チャンネルのループでは = ではなく += を使います。",
    ),
    "channels_averaged": (
        "the channels are averaged instead of summed",
        "チャンネルの和ではなく平均になっています",
        "Use sum over the channels, not mean.",
        "チャンネルは mean ではなく sum します。",
    ),
    "stride_ignored": (
        "the stride is ignored",
        "ストライドが無視されています",
        "Start window i at i * stride, forward and backward.",
        "順伝播でも逆伝播でも、i 番目のウィンドウは i * stride から始まります。",
    ),
    "padding_ignored": (
        "the padding is ignored",
        "パディングが無視されています",
        "Pad the input with np.pad before taking windows.",
        "ウィンドウを取る前に np.pad で入力を広げます。",
    ),
    "padded_on_one_side": (
        "the input is padded on one side only",
        "片側しかパディングされていません",
        "Pad with (pad, pad) on each spatial axis.",
        "各軸を (pad, pad) と両側に広げます。",
    ),
    "padding_not_zero": (
        "the padding repeats the border instead of being 0",
        "パディングが 0 ではなく端の値の繰り返しになっています",
        "Use np.pad(..., mode='constant').",
        "np.pad(..., mode='constant') を使います。",
    ),
    "output_size_too_small": (
        "the output is one position short",
        "出力が 1 つ足りません",
        "The size is (n + 2 * pad - kernel) // stride + 1; look for the + 1.",
        "サイズは (n + 2 * pad - kernel) // stride + 1 です。+ 1 を確かめます。",
    ),
    "output_size_too_large": (
        "the output has a position too many: its size is rounded up",
        "出力が 1 つ多くなっています(サイズが切り上げられています)",
        "Round down: (n + 2 * pad - kernel) // stride + 1.",
        "切り捨てます: (n + 2 * pad - kernel) // stride + 1。",
    ),
    "height_and_width_exchanged": (
        "height and width are exchanged",
        "高さと幅が入れ替わっています",
        "Check the order of out_h and out_w, and of the loops.",
        "out_h と out_w、ループの順を確かめます。",
    ),
    "square_only": (
        "it works for squares only",
        "正方形でしか動きません",
        "Take height and width from the shape separately.",
        "高さと幅を shape から別々に取ります。",
    ),
    # -- gradients in general
    "all_zero": (
        "it is all zeros: it was set up but never filled",
        "すべて 0 です(初期化後に代入されていません)",
        "Look for the line that should fill it.",
        "値を代入する行を確かめます。",
    ),
    "wrong_sign": (
        "the sign is wrong",
        "符号が逆です",
        "Look for a minus too many or too few.",
        "マイナスの過不足を確かめます。",
    ),
    "twice_too_large": (
        "it is twice too large: summed twice, or a factor 1/2 forgotten",
        "2 倍になっています(二重に足したか、1/2 を忘れています)",
        "Look for a second sum or +=, and for the 1/2.",
        "二重の和や +=、1/2 を確かめます。",
    ),
    "half_too_small": (
        "it is half of what it should be",
        "半分になっています",
        "The derivative of a square has a factor 2.",
        "2 乗の微分には係数 2 が付きます。",
    ),
    "times_batch_size": (
        "it is multiplied by the batch size (summed over the batch twice)",
        "バッチサイズ倍になっています(バッチについて二重に和を取っています)",
        "Sum over the batch once.",
        "バッチについての和は一度だけ取ります。",
    ),
    "averaged_over_batch": (
        "it is averaged over the batch instead of summed",
        "バッチの和ではなく平均になっています",
        "A layer sums; the loss has divided by the batch size already.",
        "層では和を取ります。バッチサイズでの割り算は損失関数で済んでいます。",
    ),
    "divided_by_batch_twice": (
        "it is divided by the batch size twice",
        "バッチサイズで二度割られています",
        "Divide once, in the loss.",
        "割り算は損失関数で一度だけ行います。",
    ),
    "averaged_over_positions": (
        "it is averaged over the positions instead of summed",
        "位置についての和ではなく平均です",
        "Use sum over the output positions.",
        "出力位置について sum を使います。",
    ),
    "only_last_sample": (
        "only the last sample of the batch counts: the others are overwritten",
        "バッチの最後のサンプルしか残っていません(上書きされています)",
        "Use += in the loop over the batch, or sum over axis 0.",
        "バッチのループで += を使うか、軸 0 で sum します。",
    ),
    "only_first_sample": (
        "only the first sample of the batch is used",
        "バッチの最初のサンプルしか使われていません",
        "Go over all samples.",
        "すべてのサンプルについて計算します。",
    ),
    "batch_not_summed": (
        "it is not summed over the batch",
        "バッチについて和が取られていません",
        "Sum over axis 0.",
        "軸 0 で sum します。",
    ),
    "positions_not_summed": (
        "it is not summed over the positions",
        "出力位置について和が取られていません",
        "For b: dout.sum(axis=(0, 2, 3)), for (N, C, L) dout.sum(axis=(0, 2)).",
        "b では dout.sum(axis=(0, 2, 3))、(N, C, L) なら dout.sum(axis=(0, 2)) とします。",
    ),
    "summed_over_everything": (
        "it is summed over everything, filters too",
        "フィルターも含めてすべて足されています",
        "Leave the axis of the filters out of the sum.",
        "フィルターの軸は和から除きます。",
    ),
    "gradient_transposed": (
        "it is transposed",
        "転置されています",
        "It must have the shape of what it is the gradient of: x.T @ dout for W (in, out).",
        "元の変数と同じ形にします。W が (入力, 出力) なら x.T @ dout です。",
    ),
    "dout_ignored": (
        "the gradient from behind, dout, is not multiplied in",
        "後ろからの勾配 dout が掛けられていません",
        "Chain rule: multiply the local derivative by dout.",
        "連鎖律です。局所的な微分に dout を掛けます。",
    ),
    "dout_passed_through": (
        "dout is passed on unchanged",
        "dout がそのまま返されています",
        "Multiply by the derivative.",
        "微分を掛けます。",
    ),
    "accumulates_over_calls": (
        "gradients add up over calls of backward",
        "backward を呼ぶたびに勾配が積み上がります",
        "Assign self.dW = ... anew in each backward.",
        "backward ごとに self.dW = ... と代入し直します。",
    ),
    "changes_with_calls": (
        "a second call with the same numbers gives something else",
        "同じ値で二度呼ぶと結果が変わります",
        "Keep nothing from the call before.",
        "前の呼び出しの値を残さないようにします。",
    ),
    "forward_changes_x": (
        "forward changes its input x in place",
        "forward が入力 x を書き換えています",
        "Work on a copy: out = x.copy(), or np.where.",
        "out = x.copy() や np.where を使います。",
    ),
    "backward_changes_dout": (
        "backward changes dout in place",
        "backward が dout を書き換えています",
        "Write dx = dout * mask, or dx = dout.copy() first.",
        "dx = dout * mask とするか、先に dx = dout.copy() とします。",
    ),
    "changes_parameters": (
        "W or b is changed by forward or backward",
        "forward か backward が W や b を書き換えています",
        "Leave updates to the optimizer, and work on copies.",
        "更新はオプティマイザーに任せ、計算はコピーで行います。",
    ),
    "integers_cut_off": (
        "for an input of integers the results are cut off to integers",
        "入力が整数のとき、結果が整数に切り捨てられます",
        "Make the output by np.zeros(shape), not np.zeros_like(x).",
        "出力は np.zeros_like(x) ではなく np.zeros(shape) で用意します。",
    ),
    # -- convolution, backward
    "col2im_overwrites": (
        "col2im overwrites where windows overlap",
        "ウィンドウが重なる所で col2im が上書きしています",
        "Use += instead of = when the columns go back into the image.",
        "列を画像に戻すときは = ではなく += を使います。",
    ),
    "padding_not_removed": (
        "the padding is not removed from dx",
        "dx からパディングが除かれていません",
        "Return dx[:, :, pad:-pad or None, ...], the shape of x.",
        "dx[:, :, pad:H + pad, pad:W + pad] と、x と同じ形にして返します。",
    ),
    "padding_removed_on_one_side": (
        "the padding is cut off at the wrong side of dx",
        "dx のパディングを誤った側で切り取っています",
        "Cut pad elements off at the beginning and at the end.",
        "先頭と末尾の両方から pad 個を除きます。",
    ),
    "filter_flipped_in_backward": (
        "the filter lies the wrong way round in dx",
        "dx の計算でフィルターの向きが逆です",
        "dx[s + i] += dout[i] * w[s]; written as a correlation, dx needs the filter flipped.",
        "dx[s + i] += dout[i] * w[s] です。相関で書くならフィルターを反転します。",
    ),
    "dw_flipped": (
        "the taps of dW are in reverse order",
        "dW のタップの順が逆です",
        "dW[s] += dout[i] * x[i * stride + s].",
        "dW[s] += dout[i] * x[i * stride + s] です。",
    ),
    # -- pooling
    "max_pool_padded_with_zero": (
        "max pooling is padded with 0, which hides negative maxima",
        "最大プーリングが 0 でパディングされ、負の最大値が隠れています",
        "Pad with -np.inf.",
        "-np.inf でパディングします。",
    ),
    "mean_instead_of_max": (
        "it takes the mean instead of the maximum",
        "最大値ではなく平均です",
        "Use max.",
        "max を使います。",
    ),
    "max_instead_of_mean": (
        "it takes the maximum instead of the mean",
        "平均ではなく最大値です",
        "Use mean.",
        "mean を使います。",
    ),
    "sum_instead_of_mean": (
        "the window is summed and not divided by its size",
        "ウィンドウの和が要素数で割られていません",
        "Divide by the number of taps.",
        "ウィンドウの要素数で割ります。",
    ),
    "gradient_to_all_maxima": (
        "where a maximum occurs twice, each gets the whole gradient",
        "最大値が複数あると、それぞれに勾配全体が渡されています",
        "Choose one by argmax, or share the gradient evenly.",
        "argmax で一つ選ぶか、均等に分けます。",
    ),
    "gradient_to_every_position": (
        "the gradient goes to every position of the window, not to the maximum",
        "勾配が最大値の位置ではなくウィンドウ全体に渡されています",
        "Pass it to the position of the maximum only.",
        "最大値の位置にだけ渡します。",
    ),
    "gradient_shared_over_window": (
        "the gradient is shared by the whole window, as for average pooling",
        "平均プーリングのように、勾配がウィンドウ全体に分けられています",
        "Pass it whole to the position of the maximum.",
        "最大値の位置にすべて渡します。",
    ),
    "gradient_to_minimum": (
        "the gradient goes to the minimum of the window",
        "勾配がウィンドウの最小値に渡されています",
        "Use argmax.",
        "argmax を使います。",
    ),
    "average_backward_not_divided": (
        "the gradient of the mean is not divided by the size of the window",
        "平均の勾配がウィンドウの要素数で割られていません",
        "Each position gets dout / (number of taps).",
        "各位置に dout / 要素数 を渡します。",
    ),
    # -- im2col and col2im
    "im2col_transposed": (
        "rows and columns are exchanged",
        "行と列が入れ替わっています",
        "One row for each position, one column for each tap.",
        "行が位置、列がタップになるようにします。",
    ),
}
