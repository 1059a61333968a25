"""Mistakes in batch normalisation, dropout and optimizers.

The key is the name of the mistake; the texts are what it looks like, in English and Japanese, and
how to mend it, in both.
"""

TABLE: dict[str, tuple[str, str, str, str]] = {
    # -- batch normalisation
    "eps_missing": (
        "a constant feature gives NaN: epsilon is missing",
        "値が一定の特徴で NaN になります（epsilon がありません）",
        "Divide by sqrt(var + eps).",
        "sqrt(var + eps) で割ります。",
    ),
    "variance_divided_by_n_minus_1": (
        "the batch is normalised by the variance over n - 1",
        "n - 1 で割った分散で正規化しています",
        "Use the mean of the squares (np.var without ddof).",
        "ddof なしの np.var を使います。",
    ),
    "divided_by_variance": (
        "it is divided by the variance instead of its root",
        "標準偏差ではなく分散で割っています",
        "Divide by sqrt(var + eps).",
        "sqrt(var + eps) で割ります。",
    ),
    "normalised_over_wrong_axis": (
        "each sample is normalised instead of each feature",
        "特徴ごとではなくサンプルごとに正規化しています",
        "Use axis=0.",
        "axis=0 を使います。",
    ),
    "gamma_missing": (
        "gamma is not multiplied in",
        "gamma が掛けられていません",
        "out = gamma * x_hat + beta.",
        "out = gamma * x_hat + beta とします。",
    ),
    "beta_missing": (
        "beta is not added",
        "beta が足されていません",
        "out = gamma * x_hat + beta.",
        "out = gamma * x_hat + beta とします。",
    ),
    "batch_statistics_ignored_in_backward": (
        "dx ignores that mean and variance depend on x",
        "平均と分散が x に依存することが dx に入っていません",
        "Add the terms of the mean and of the variance.",
        "平均と分散を通る項を加えます。",
    ),
    "variance_ignored_in_backward": (
        "dx ignores that the variance depends on x",
        "分散が x に依存することが dx に入っていません",
        "Add the term of the variance.",
        "分散を通る項を加えます。",
    ),
    "mean_ignored_in_backward": (
        "dx ignores that the mean depends on x",
        "平均が x に依存することが dx に入っていません",
        "Add the term of the mean.",
        "平均を通る項を加えます。",
    ),
    "gamma_gradient_from_x": (
        "dgamma is computed from x instead of the normalised x",
        "dgamma が正規化した x ではなく x から計算されています",
        "dgamma = (dout * x_hat).sum(axis=0).",
        "dgamma = (dout * x_hat).sum(axis=0) です。",
    ),
    "running_statistics_move_in_inference": (
        "the running statistics change in inference",
        "推論時に移動平均が更新されています",
        "Update them only in training.",
        "更新は学習時だけにします。",
    ),
    "batch_statistics_in_inference": (
        "inference normalises by the batch instead of the running statistics",
        "推論時に移動平均ではなくバッチの統計で正規化しています",
        "Use the running mean and variance when not training.",
        "推論時には移動平均と移動分散を使います。",
    ),
    "running_statistics_never_move": (
        "the running statistics never change",
        "移動平均が更新されていません",
        "Update them in every training forward.",
        "学習時の forward のたびに更新します。",
    ),
    "momentum_reversed": (
        "the running statistics keep little of the past: the momentum is the wrong way round",
        "移動平均が過去をほとんど残しません。momentum の使い方が逆です",
        "running = 0.9 * running + 0.1 * batch.",
        "running = 0.9 * running + 0.1 * batch とします。",
    ),
    # -- dropout
    "dropout_not_scaled": (
        "it scales neither in training nor in inference",
        "学習時にも推論時にもスケーリングがありません",
        "Divide by 1 - p in training, or multiply by 1 - p in inference.",
        "学習時に 1 - p で割るか、推論時に 1 - p を掛けます。",
    ),
    "dropout_scaled_twice": (
        "it scales in training and in inference",
        "学習時と推論時の両方でスケーリングしています",
        "Scale in one of the two.",
        "どちらか一方だけにします。",
    ),
    "dropout_scaled_by_p": (
        "it scales by the share that is dropped instead of the share kept",
        "残す割合ではなく落とす割合でスケーリングしています",
        "The factor is 1 - p.",
        "係数は 1 - p です。",
    ),
    "dropout_keeps_what_it_should_drop": (
        "it keeps the share p instead of dropping it",
        "割合 p を落とすのではなく残しています",
        "mask = np.random.rand(*x.shape) > p.",
        "mask = np.random.rand(*x.shape) > p とします。",
    ),
    "dropout_active_in_inference": (
        "elements are dropped in inference too",
        "推論時にも値が落とされています",
        "Return x as it is when not training.",
        "推論時は落とさずに返します。",
    ),
    "dropout_inactive": (
        "nothing is dropped in training",
        "学習時に何も落とされていません",
        "Multiply by a random mask.",
        "ランダムなマスクを掛けます。",
    ),
    "dropout_other_mask_in_backward": (
        "backward uses another mask than forward",
        "backward が forward と違うマスクを使っています",
        "Keep the mask in self.mask.",
        "マスクを self.mask に保存します。",
    ),
    "dropout_backward_not_scaled": (
        "backward uses the mask, but not the factor of forward",
        "backward にマスクはありますが、forward の係数がありません",
        "Multiply dout by what x was multiplied by.",
        "x に掛けたものと同じものを dout に掛けます。",
    ),
    "same_mask_every_time": (
        "the mask is the same in every forward",
        "毎回同じマスクが使われています",
        "Draw a new mask in each training forward.",
        "学習時の forward ごとに新しいマスクを作ります。",
    ),
    "seeds_the_global_generator": (
        "it sets the seed of NumPy's global generator",
        "NumPy 全体の乱数シードを設定しています",
        "Use a np.random.default_rng(seed) of your own.",
        "np.random.default_rng(seed) を別に持ちます。",
    ),
    # -- optimizers
    "no_bias_correction": (
        "the bias correction is missing",
        "バイアス補正がありません",
        "Divide m by 1 - beta1 ** t and v by 1 - beta2 ** t.",
        "m を 1 - beta1 ** t、v を 1 - beta2 ** t で割ります。",
    ),
    "step_not_counted": (
        "the number of the step stays at 1",
        "ステップ数が 1 のままです",
        "Add 1 to t in every update.",
        "update のたびに t に 1 を足します。",
    ),
    "steps_counted_from_zero": (
        "the first step has the number 0 (or a count is one off)",
        "最初のステップが 0 と数えられています",
        "Add 1 to t before the correction.",
        "補正の前に t に 1 を足します。",
    ),
    "step_counted_per_parameter": (
        "the step is counted once for each parameter",
        "パラメータごとにステップが数えられています",
        "Add 1 to t outside of the loop over parameters.",
        "t はパラメータのループの外で 1 増やします。",
    ),
    "ascends": (
        "it goes up the gradient instead of down",
        "勾配を下らずに上っています",
        "Subtract: p -= lr * g.",
        "p -= lr * g と引きます。",
    ),
    "parameters_not_updated": (
        "the parameters do not change: a local name was assigned",
        "パラメータが変わりません（ローカル変数への代入です）",
        "Write params[key] -= ..., not p = p - ....",
        "p = p - ... ではなく params[key] -= ... とします。",
    ),
    "learning_rate_missing": (
        "the learning rate is not multiplied in",
        "学習率が掛けられていません",
        "Multiply the step by lr.",
        "更新量に lr を掛けます。",
    ),
    "momentum_not_kept": (
        "nothing is kept from step to step: this is plain gradient descent",
        "前のステップから何も引き継がれていません（単なる勾配降下法です）",
        "Keep v in self, one for each parameter.",
        "v をパラメータごとに self に保存します。",
    ),
    "momentum_sign": (
        "the velocity is subtracted where it belongs added (or the other way round)",
        "速度の符号が逆です",
        "v = momentum * v - lr * g; p += v.",
        "v = momentum * v - lr * g; p += v です。",
    ),
    "squares_not_accumulated": (
        "the squares of the gradients are not accumulated",
        "勾配の 2 乗が積算されていません",
        "h += g * g instead of h = g * g.",
        "h = g * g ではなく h += g * g とします。",
    ),
    "root_missing": (
        "it is divided by the squares instead of their root",
        "平方根ではなく 2 乗で割っています",
        "Divide by sqrt(h) + eps.",
        "sqrt(h) + eps で割ります。",
    ),
    "new_gradient_not_weighted": (
        "the new square is not weighted by 1 - rho",
        "新しい 2 乗に 1 - rho が掛けられていません",
        "h = rho * h + (1 - rho) * g * g.",
        "h = rho * h + (1 - rho) * g * g です。",
    ),
}
