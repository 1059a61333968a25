"""Mistakes in activations, softmax, losses and linear layers.

The key is the name of the mistake; the texts are what it looks like, in English and Japanese, and
how to mend it, in both.
"""

TABLE: dict[str, tuple[str, str, str, str]] = {
    # -- activations
    "mask_of_wrong_sign": (
        "the mask is the wrong way round: it keeps what is negative",
        "マスクが逆で、負の値を残しています",
        "Keep x where x > 0, set the others to 0.",
        "x > 0 を残し、ほかを 0 にします。",
    ),
    "mask_by_dout": (
        "the mask is taken from the sign of dout instead of x",
        "マスクが x ではなく dout の符号で決まっています",
        "Keep the mask x > 0 of the forward.",
        "forward のときの x > 0 を保存して使います。",
    ),
    "absolute_value": (
        "it is the absolute value",
        "絶対値になっています",
        "Use np.maximum(x, 0).",
        "np.maximum(x, 0) を使います。",
    ),
    "derivative_at_x_instead_of_y": (
        "the derivative is computed from x where the output y belongs",
        "出力 y を使うべき所で入力 x から微分を計算しています",
        "sigmoid: y * (1 - y); tanh: 1 - y ** 2; y is the output.",
        "sigmoid は y * (1 - y)、tanh は 1 - y ** 2 で、y は出力です。",
    ),
    "activation_applied_twice": (
        "the function is applied to the output once more in backward",
        "backward で出力にもう一度関数を適用しています",
        "Use the y of the forward as it is.",
        "forward の y をそのまま使います。",
    ),
    "tanh_square_missing": (
        "it is 1 - y instead of 1 - y ** 2",
        "1 - y ** 2 ではなく 1 - y になっています",
        "Square y.",
        "y を 2 乗します。",
    ),
    "sigmoid_factor_missing": (
        "a factor of y * (1 - y) is missing",
        "y * (1 - y) の片方が抜けています",
        "Multiply dout by y and by 1 - y.",
        "dout に y と 1 - y の両方を掛けます。",
    ),
    # -- softmax and losses
    "softmax_overflows": (
        "it overflows for large inputs",
        "大きな入力でオーバーフローします",
        "Subtract the maximum of each row before exp.",
        "exp の前に各行の最大値を引きます。",
    ),
    "softmax_over_wrong_axis": (
        "it is taken over the batch instead of the classes",
        "クラスではなくバッチの軸で計算されています",
        "Use axis=1 with keepdims=True.",
        "axis=1, keepdims=True を使います。",
    ),
    "softmax_over_everything": (
        "it is normalised over the whole array instead of each row",
        "行ごとではなく配列全体で正規化されています",
        "Sum with axis=1 and keepdims=True.",
        "axis=1, keepdims=True で和を取ります。",
    ),
    "softmax_not_normalised": (
        "the exponentials are not divided by their sum",
        "exp の値が和で割られていません",
        "Divide by the sum of the row.",
        "行の和で割ります。",
    ),
    "softmax_jacobian_diagonal": (
        "only the diagonal of the Jacobian is used: dout * y * (1 - y)",
        "ヤコビ行列の対角だけが使われています: dout * y * (1 - y)",
        "dx = y * (dout - (dout * y).sum(axis=1, keepdims=True)).",
        "dx = y * (dout - (dout * y).sum(axis=1, keepdims=True)) です。",
    ),
    "log_of_zero": (
        "the loss is infinite where a probability is 0",
        "確率が 0 のとき損失が無限大になります",
        "Use log(y + 1e-7), or the log-softmax.",
        "log(y + 1e-7) か log-softmax を使います。",
    ),
    "gradient_not_divided_by_batch": (
        "the loss is a mean, but its gradient is not divided by the batch",
        "損失は平均なのに、勾配がバッチサイズで割られていません",
        "dx = (y - t) / batch_size.",
        "dx = (y - t) / batch_size とします。",
    ),
    "loss_not_divided_by_batch": (
        "the gradient is that of the mean, but the loss is the sum over the batch",
        "勾配は平均のものなのに、損失がバッチの和になっています",
        "Divide the loss by the batch size.",
        "損失をバッチサイズで割ります。",
    ),
    "gradient_of_another_scale": (
        "loss and gradient differ by a factor",
        "損失と勾配の係数が合っていません",
        "Differentiate the loss as it is written, with all its factors.",
        "損失を係数も含めてそのまま微分します。",
    ),
    "loss_also_divided_by_classes": (
        "the loss is divided by the number of classes too",
        "損失がクラス数でも割られています",
        "Sum over the classes, then take the mean over the batch.",
        "クラスについては和、バッチについては平均を取ります。",
    ),
    "target_not_subtracted": (
        "the target is not subtracted: the gradient is y instead of y - t",
        "正解が引かれていません。勾配が y - t ではなく y です",
        "dx = (y - t) / batch_size.",
        "dx = (y - t) / batch_size とします。",
    ),
    # -- layers of vectors
    "backward_forgets_shape": (
        "dx is not reshaped back to the shape of the input",
        "dx が入力の形に戻されていません",
        "Keep x.shape and return dx.reshape(x.shape).",
        "x.shape を保存し dx.reshape(x.shape) を返します。",
    ),
}
