"""Every sentence of an explanation, in English and in Japanese."""

from __future__ import annotations

from collections.abc import Callable

from xpcnn.errors import LANGUAGES

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
    "as_channel": (
        "It is one channel of one sample: the axes of batch and channels, (1, 1, …), were put in "
        "front.",
        "これはサンプル1個・チャンネル1個の入力なので、先頭にバッチとチャンネルの軸 (1, 1, …) "
        "を補って計算します。",
    ),
    "as_array": (
        "It is a single number, computed as an array of one.",
        "これは1個の数で、要素1個の配列として計算します。",
    ),
    "new_weights": (
        "The layer had no weights yet. Those below were drawn as on its first use, with seed 0.",
        "この層はまだ重みを持っていません。下の重みは、"
        "初回の使用時と同じ方法でシード0から生成したものです。",
    ),
    "tables_left_out": (
        "… and {count} more like these are left out (a larger limit= shows more).",
        "… ほか {count} 個は省略しました（limit= を大きくすると表示されます）。",
    ),
    "lines_left_out": ("… {count} more lines …", "… ほか {count} 行 …"),
    "terms_left_out": ("… {count} more terms …", "… ほか {count} 項 …"),
    "gradient_given": (
        "Backward: the gradient dy from the next layer",
        "逆伝播：次の層から来る勾配 dy",
    ),
    "dy_given": (
        "dy says how much the loss grows with each output. It has the shape {shape}.",
        "dy は、各出力が増えたとき損失がどれだけ増えるかを表します。形は {shape} です。",
    ),
    "dy_ones": (
        "No dy was given, so it is 1 everywhere: the gradients below are those of the sum of "
        "all outputs.",
        "dy が渡されなかったので、すべて 1 とします。以下は出力の総和についての勾配です。",
    ),
    # -- windows
    "padding_shown": (
        "Positions outside of the input (size {size}) are padding ({mode}); the window slides "
        "over them too.",
        "入力（大きさ {size}）の外側の位置はパディング（{mode}）で、窓はその上も動きます。",
    ),
    "mode_zeros": ("zeros", "ゼロ"),
    "mode_reflect": ("mirrored at the border", "端で鏡映し"),
    "mode_replicate": ("the element at the border", "端の値の繰り返し"),
    "mode_circular": ("from the other end", "反対側の端から循環"),
    "mode_infinity": ("minus infinity, which never wins", "−∞。最大になることはありません"),
    "marks_two": (
        "Marked: [ ] under the first window, < > under the last, { } under both.",
        "印：[ ] は最初の窓の下、< > は最後の窓の下、{ } は両方の窓の下です。",
    ),
    "marks_two_in_colour": (
        "Orange: under the first window. Blue: under the last. Both colours: under both.",
        "オレンジは最初の窓の下、青は最後の窓の下、2色は両方の窓の下です。",
    ),
    "marks_one": ("Marked: [ ] under the window.", "印：[ ] は窓の下です。"),
    "marks_one_in_colour": ("Orange: under the window.", "オレンジは窓の下です。"),
    "size_heading": ("The size of the output", "出力の大きさ"),
    "size_text": (
        "n is the length of the input, p the padding before and behind it, k the size of the "
        "filter, d its dilation, s the stride; ⌊ ⌋ rounds down.",
        "n は入力の長さ、p は前後のパディング、k はフィルタの大きさ、d はダイレーション、s "
        "はストライド、⌊ ⌋ は切り捨てです。",
    ),
    "size_axis": ("axis {axis}: {text}", "{axis} 軸：{text}"),
    "windows_as_columns": ("im2col: one row for each window", "im2col：窓ごとに1行"),
    "columns_text": (
        "What lies under the window at one position becomes a row. A row is named after its "
        "sample n and output position, a column after its channel c and tap (the place in the "
        "filter).",
        "ある位置で窓の下にある値を1行に並べます。行はサンプル n と出力の位置、列はチャンネル c "
        "とタップ（フィルタ内の位置）で表します。",
    ),
    "columns_corner": ("position \\ tap", "位置 \\ タップ"),
    "group": (
        "Group {group} of {groups}: channels {channels}, filters {filters}.",
        "グループ {group}（全 {groups}）：チャンネル {channels}、フィルタ {filters}。",
    ),
    "weights_heading": ("The weights as a matrix", "行列として見た重み"),
    "weights_text": (
        "Each filter becomes a column, its numbers in the order of the columns of col. {name} "
        "itself has the shape {shape}.",
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
    "output_text": (
        "The numbers in the shape of the output, {shape}:",
        "出力の形 {shape} に並べ直した値です。",
    ),
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
        "A weight was multiplied by one column of col, so its gradient is the sum of that "
        "column times dy.",
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
    # -- transposed convolution
    "transposed_size_text": (
        "n is the length of the input, p the padding that is cut off before and behind, k the "
        "size of the filter, d its dilation, s the stride, o the output padding.",
        "n は入力の長さ、p は前後で切り落とすパディング、k はフィルタの大きさ、d "
        "はダイレーション、s はストライド、o は output_padding です。",
    ),
    "spread_weights_heading": ("The weights", "重み"),
    "spread_padding": (
        "What falls on the padding is cut off.",
        "パディングに落ちた分は切り落とします。",
    ),
    "spread_heading": (
        "The product: each element spreads over a window",
        "行列の積：各要素を窓いっぱいに広げる",
    ),
    "spread_text": (
        "Each element of the input is multiplied by the whole filter. A row is named after "
        "sample n and input position, a column after output channel c and tap.",
        "入力の各要素にフィルタ全体を掛けます。行はサンプル n と入力の位置、列は出力チャンネル "
        "c とタップで表します。",
    ),
    "spread_add_heading": (
        "col2im: adding up where windows overlap",
        "col2im：窓が重なる所を足し合わせる",
    ),
    "spread_add_text": (
        "An element of the output is the sum of all entries that fall on it, plus the bias:",
        "出力の要素は、そこに落ちる値すべての和にバイアスを足したものです。",
    ),
    "spread_columns_heading": ("Backward: the windows of dy", "逆伝播：dy の窓"),
    "spread_columns_text": (
        "Backward it is a convolution: what of dy lay in the window of an input element becomes "
        "a row.",
        "逆伝播は普通の畳み込みです。入力要素の窓に入る dy の値を1行に並べます。",
    ),
    "dx_heading": ("Backward: the input", "逆伝播：入力"),
    "dx_spread_text": ("Each row times the weights:", "各行と重みの積です。"),
    "dw_spread_text": (
        "A weight was multiplied by every element of its input channel:",
        "重みは、入力チャンネルのすべての要素に掛けられました。",
    ),
    # -- pooling
    "pool_heading": ("The windows", "窓"),
    "pool_max_text": (
        "A row is what lies under the window at one position of one channel; the largest "
        "number, which is marked, is the output. If several are equal, the first counts.",
        "1行は、あるチャンネルのある位置で窓の下にある値です。"
        "印を付けた最大の値が出力になります。同じ値なら最初のものを取ります。",
    ),
    "pool_avg_text": (
        "A row is what lies under the window at one position of one channel; the output is the "
        "mean.",
        "1行は、あるチャンネルのある位置で窓の下にある値です。その平均が出力になります。",
    ),
    "pool_corner": ("window \\ tap", "窓 \\ タップ"),
    "pool_back_heading": ("Backward: where the gradient goes", "逆伝播：勾配の行き先"),
    "pool_max_back": (
        "Only the largest number of a window made the output, so it gets all of the gradient; "
        "an element that won in several windows gets the sum, the others get 0.",
        "出力を決めたのは窓の中の最大値だけなので、勾配はすべてそこへ行きます。"
        "複数の窓で最大だった要素は和を、それ以外は 0 を受け取ります。",
    ),
    "pool_avg_back": (
        "Every element of a window had the same share in the mean, so each gets the gradient "
        "divided by the number of elements.",
        "平均には窓のどの要素も等しく効くので、それぞれが勾配を要素数で割った値を受け取ります。",
    ),
    # -- linear
    "linear_product": (
        "Each output is the sum of all inputs of the sample times the weights of that "
        "output{bias}:",
        "各出力は、サンプルのすべての入力と、その出力の重みの積の和です{bias}。",
    ),
    "plus_bias": (", plus its bias", "（さらにバイアスを足します）"),
    "linear_db": (
        "The bias is added for every sample, so its gradient is the sum of dy over the samples.",
        "バイアスは各サンプルに足されるので、勾配は dy をサンプルについて足したものです。",
    ),
    "linear_dw": (
        "A weight joins one input with one output, so its gradient is the sum over the samples "
        "of that input times dy of that output.",
        "重みは1つの入力と1つの出力を結ぶので、勾配は、その入力とその出力の dy "
        "の積をサンプルについて足したものです。",
    ),
    "linear_dx": (
        "An input went into every output, so its gradient is the sum over the outputs of dy "
        "times the weight.",
        "入力はすべての出力に使われたので、勾配は dy と重みの積を出力について足したものです。",
    ),
    # -- element by element
    "elements_heading": ("Element by element", "要素ごとの計算"),
    "elements_text": (
        "Each element is computed by itself: y, the slope dy/dx at x, and backward dx, the "
        "slope times the gradient g from the next layer.",
        "要素ごとに独立に計算します。y と x における傾き dy/dx、"
        "逆伝播では、次の層から来た勾配 g に傾きを掛けた dx です。",
    ),
    "elements_corner": ("element", "要素"),
    "learned_slope": (
        "The slope a left of 0 is learned: {name}, one number for all or one for each channel, "
        "and below it its gradient.",
        "0 より左の傾き a（{name}）は学習されます。全体で1個、またはチャンネルごとに1個です。"
        "下にその勾配も示します。",
    ),
    "slope": ("slope", "傾き"),
    "dropout_text": (
        "In training each element is kept with probability {kept} (m = 1) or set to zero (m = "
        "0); those kept are divided by {kept}, so that the mean stays. Backward goes through "
        "the same mask. The mask is that of the layer's next training forward.",
        "学習時には、各要素を確率 {kept} で残し（m = 1）、残りは 0 にします（m = 0）。"
        "平均が変わらないよう、残した要素は {kept} で割ります。逆伝播も同じマスクを通ります。"
        "マスクは、この層の次の学習時の順伝播で使われるものです。",
    ),
    "dropout_inference": (
        "In inference nothing is dropped: y = x, and dx = dy.",
        "推論時には何も 0 にしません。y = x、dx = dy です。",
    ),
    "flatten_text": (
        "Nothing is computed: the numbers stay in their order, and only the shape changes, from "
        "{before} to {after}. Backward gives the gradient the old shape again.",
        "計算はしません。数の順序はそのままで、形だけが {before} から {after} に変わります。"
        "逆伝播では勾配を元の形に戻します。",
    ),
    # -- softmax
    "softmax_heading": ("From scores to shares", "スコアから割合へ"),
    "softmax_text": (
        "The largest number m is subtracted first, which changes nothing in the result but "
        "keeps exp from overflowing. Each row adds up to 1.",
        "はじめに最大値 m を引きます。結果は変わらず、exp の桁あふれを防げます。各行の和は 1 "
        "です。",
    ),
    "softmax_back": (
        "Every output depends on every input of its row. With s = Σ dy·y:",
        "どの出力も、同じ行のすべての入力に依存します。s = Σ dy·y として：",
    ),
    "backward_heading": ("Backward", "逆伝播"),
    # -- batch normalisation
    "bn_rows": (
        "Each channel is normalised by itself, over all samples{places}: m = {count} numbers.",
        "チャンネルごとに、すべてのサンプル{places}にわたって正規化します。数は m = {count} "
        "個です。",
    ),
    "bn_places": (" and positions", "と位置"),
    "bn_channels": ("The numbers of each channel", "チャンネルごとの数"),
    "bn_mean_heading": ("The mean", "平均"),
    "bn_var_heading": ("The variance", "分散"),
    "bn_var_text": (
        "The mean of the squared distances from the mean (divided by m, not by m - 1):",
        "平均との差の2乗の平均です（m - 1 ではなく m で割ります）。",
    ),
    "bn_running_used": (
        "In inference the running mean and variance gathered in training are used: {numbers}.",
        "推論時には、学習中に求めた移動平均と移動分散を使います：{numbers}。",
    ),
    "bn_norm_heading": ("Normalised, scaled and shifted", "正規化・スケール・シフト"),
    "bn_norm_text": (
        "ε = {eps} keeps the root from being zero; after this each channel has mean 0 and "
        "variance 1 (nearly, because of ε).",
        "ε = {eps} は 0 で割るのを防ぎます。ここで各チャンネルの平均は 0、分散は（ε "
        "の分を除き）1 です。",
    ),
    "bn_norm_running": (
        "ε = {eps} keeps the root from being zero.",
        "ε = {eps} は 0 で割るのを防ぎます。",
    ),
    "bn_affine": (
        "γ ({names[0]}) = {gamma} scales, β ({names[1]}) = {beta} shifts.",
        "γ（{names[0]}）= {gamma} を掛け、β（{names[1]}）= {beta} を足します。",
    ),
    "bn_plain": ("There are no γ and β: y = x̂.", "γ と β はありません。y = x̂ です。"),
    "bn_tracking_heading": ("The running statistics", "移動平均と移動分散"),
    "bn_tracking": (
        "A training forward moves them towards those of this batch (the layer you gave is left "
        "as it is). The variance is divided by m - 1 here.",
        "学習時の順伝播は、これらをこのバッチの値に近づけます（渡された層は変わりません）。"
        "ここでは分散を m - 1 で割ります。",
    ),
    "bn_tracking_course": (
        "A training forward moves them towards those of this batch, rho·old + (1 - rho)·new; "
        "there is no old one before the first (the object you gave is left as it is). The "
        "variance is the one above, divided by m.",
        "学習時の順伝播では rho·(前の値) + (1 - rho)·(このバッチの値) に更新します。最初は前の値が"
        "ありません（渡されたオブジェクトは変わりません）。分散は上のもの（m で割った値）です。",
    ),
    "bn_beta_heading": ("Backward: β and γ", "逆伝播：β と γ"),
    "bn_dx_text": (
        "x affects y in three ways: directly, through the mean, and through the variance. The last "
        "two are the terms subtracted:",
        "x は、それ自身・平均・分散の3通りで y に影響します。引かれている2項が平均と分散の分です。",
    ),
    "bn_dx_running": (
        "The running statistics do not depend on x, so only the scale is left:",
        "移動平均と移動分散は x によらないので、倍率だけが残ります。",
    ),
    # -- normalisation of each sample
    "sn_heading": ("What is normalised together", "いっしょに正規化する数"),
    "sn_rows": (
        "Each row is normalised by itself: m = {count} numbers of one sample. The other samples of "
        "the batch play no part.",
        "行ごとに正規化します。1つのサンプルの m = {count} 個の数です。"
        "バッチのほかのサンプルは関係しません。",
    ),
    "sn_affine": (
        "γ (weight) scales and β (bias) shifts, each number by that of its channel or place:",
        "γ（weight）を掛け、β（bias）を足します。チャンネルまたは位置ごとに値があります。",
    ),
    "sn_sums": (
        "γ and β were used in every sample, so their gradients are sums over all of them.",
        "γ と β はすべてのサンプルで使われたので、勾配はその全体の和です。",
    ),
    # -- networks
    "network_heading": ("Layer by layer", "層ごとの出力"),
    "network_text": (
        "What each layer gives without training: its class, the shape, and the smallest number, "
        "the mean and the largest.",
        "各層の出力（推論時）です。クラス、形、最小値、平均、最大値を示します。",
    ),
    "network_name": ("layer", "層"),
    "network_class": ("class", "クラス"),
    "network_shape": ("shape", "形"),
    "network_least": ("smallest", "最小"),
    "network_mean": ("mean", "平均"),
    "network_most": ("largest", "最大"),
    "network_more": (
        "To see one of them worked out with the numbers that come into it: {call}",
        "1つの層の計算を、そこに入ってくる数で一歩ずつ見るには：{call}",
    ),
    "network_stage": ("{layer} gives the shape {shape}.", "{layer} の出力の形は {shape} です。"),
    "network_samples": (
        "This is the first sample; {count} more are not shown.",
        "これは最初のサンプルです。ほか {count} 個は省略しました。",
    ),
    "network_new_weights": (
        "The network had no weights yet. Those used here were drawn as on its first use, with "
        "seed 0.",
        "このネットワークはまだ重みを持っていません。ここでは、初回の使用時と同じ方法でシード0から"
        "生成した重みを使います。",
    ),
    # -- losses
    "loss_title": ("{who} step by step", "{who} の計算を一歩ずつ"),
    "scores": ("The predictions and the targets", "予測と正解"),
    "labels_as_rows": (
        "A label k stands for a row with 1 at place k and 0 elsewhere.",
        "ラベル k は、k 番目が 1 で他が 0 の行を表します。",
    ),
    "ce_softmax_heading": ("Softmax: scores to probabilities", "ソフトマックス：スコアを確率に"),
    "ce_log_heading": ("-log of the probability of the right class", "正解クラスの確率の -log"),
    "ce_log_text": (
        "The surer the network is of the right class, the closer to 0.",
        "正解クラスの確率が高いほど 0 に近づきます。",
    ),
    "terms_heading": ("Term by term", "項ごとの計算"),
    "reduce_mean": ("The mean", "平均"),
    "reduce_sum": ("The sum", "和"),
    "loss_back_heading": (
        "Backward: the gradient of the predictions",
        "逆伝播：予測についての勾配",
    ),
    "ce_back_text": (
        "Softmax and -log together have this short gradient: the probabilities less the "
        "targets, divided by the number of samples.",
        "ソフトマックスと -log を合わせると、勾配は短い式になります。確率から正解を引き、"
        "サンプル数で割ったものです。",
    ),
    "ce_back_sum": (
        "Softmax and -log together have this short gradient: the probabilities less the targets.",
        "ソフトマックスと -log を合わせると、勾配は短い式になります。"
        "確率から正解を引いたものです。",
    ),
    "ce_settings_heading": ("What counts, and how much", "何をどれだけ数えるか"),
    "ce_ignored": (
        "Labels of {label} (ignore_index) do not count: {count} here. Their rows are zeros.",
        "ラベル {label}（ignore_index）は数えません。ここでは {count} 個あり、行はすべて 0 です。",
    ),
    "ce_smoothed": (
        "Label smoothing spreads a share of {share} of each target evenly over all classes:",
        "ラベル平滑化（label smoothing）では、各正解のうち {share} の割合を全クラスに均等に"
        "配ります。",
    ),
    "ce_weighted": (
        "The classes have the weights w = {numbers}: each share is multiplied by that of its "
        "class.",
        "クラスの重みは w = {numbers} です。各クラスの値にその重みを掛けます。",
    ),
    "ce_divisor_count": (
        "The mean is over the labels that count: N = {divisor}.",
        "平均は、数えるラベルについて取ります。N = {divisor} です。",
    ),
    "ce_divisor_weights": (
        "The mean is weighted: it divides by the sum of the weights of the labels, N = {divisor}.",
        "重み付き平均なので、正解ラベルの重みの和 N = {divisor} で割ります。",
    ),
    "ce_divisor_rows": (
        "The mean is over all rows, whatever the weights: N = {divisor}.",
        "平均は、重みによらずすべての行について取ります。N = {divisor} です。",
    ),
    "ce_back_general": (
        "Softmax and -log together have this short gradient; Σ adds up the row.",
        "ソフトマックスと -log を合わせると、勾配は短い式になります。Σ は行の和です。",
    ),
    "nll_heading": ("Minus the predicted logarithm", "予測された対数の符号を変える"),
    "nll_text": (
        "The predictions are logarithms of probabilities already, so the one of the right class "
        "is taken as it is.",
        "予測はすでに確率の対数なので、正解クラスの値をそのまま使います。",
    ),
    "nll_back_text": (
        "Only what was taken has a gradient:",
        "勾配があるのは、使われた値だけです。",
    ),
    "loss_factor_w": (
        "w is weight=, a factor on each term.",
        "w は weight=、各項に掛ける重みです。",
    ),
    "loss_factor_c": (
        "c is pos_weight=, a factor on the answer yes.",
        "c は pos_weight=、正例（t = 1）の項に掛ける重みです。",
    ),
    "elementwise_back_samples": (
        "The slope of each term, divided by the number of samples, {count}:",
        "各項の傾きを、サンプル数 {count} で割ったものです。",
    ),
    "elementwise_back": (
        "The slope of each term, divided by the number of terms, {count}:",
        "各項の傾きを、項の数 {count} で割ったものです。",
    ),
    "elementwise_back_sum": ("The slope of each term:", "各項の傾きです。"),
    "untouched": ("0 (under no window)", "0（どの窓の下にもない）"),
}


Words = Callable[..., str]


def words(lang: str) -> Words:
    """Return a function from the name of a sentence, and what stands in it, to the sentence."""
    column = LANGUAGES.index(lang)

    def say(key: str, **values: object) -> str:
        sentence = SENTENCES[key][column]
        return sentence.format(**values) if values else sentence

    return say
