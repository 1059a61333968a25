"""Sentences of the report, in English and Japanese."""

from __future__ import annotations

from typing import Any

WORDS: dict[str, tuple[str, str]] = {
    "number": (
        "{what} is {got}, expected {right}",
        "{what} は {got} ですが、正しくは {right} です",
    ),
    "shape": (
        "{what} has shape {got}, expected {right}",
        "{what} の形が {got} ですが、正しくは {right} です",
    ),
    "not offered": ("there is no argument for {what}", "{what} の引数がありません"),
    "missing": (
        "nothing was found as {what} after backward; keep it as self.{what} or return it",
        "backward の後に {what} が見つかりません。self.{what} に保存するか返してください",
    ),
    "no gradients": (
        "it returns nothing, and keeps no gradient as self.dx, self.dW or the like",
        "何も返さず、self.dx や self.dW などの勾配も残りません",
    ),
    "printed": (
        "what it prints ({lines} lines in all) is left out here",
        "print の出力（計 {lines} 行）はここでは省いています",
    ),
    "no backward": ("there is no backward(dout)", "backward(dout) がありません"),
    "mend first": ("mend what is above first", "先に上の誤りを直してください"),
    "mend gradients": (
        "the output is right; mend {what} first",
        "出力は正しいです。先に {what} を直してください",
    ),
    "one of": (
        "this could be one of several mistakes: {what}",
        "次のいずれかの誤りと考えられます: {what}",
    ),
    "unknown": (
        "it could not be called: {why}. Pass make=, which makes the object, such as {make}",
        "呼び出せませんでした: {why}。オブジェクトを作る関数を make= に渡します。例: {make}",
    ),
    "tried": ("tried: {what}", "試したもの: {what}"),
    "called": ("called with {what}", "呼び出し方: {what}"),
    "averages": (
        "dW and db are averages over the batch; that is right if the gradient of the loss is not "
        "divided by the batch as well",
        "dW と db がバッチの平均です。損失の勾配をバッチサイズで割らない場合に正しい書き方です",
    ),
    "kink": (
        "the gradient at exactly 0 is 1 here and 0 in the library; both are used",
        "ちょうど 0 での勾配がここでは 1、ライブラリでは 0 です。どちらも使われます",
    ),
    "combined": (
        "backward passes dout on ({how}); right if the loss's gradient y - t is given to it",
        "backward は dout を渡すだけです（{how}）。損失側で y - t を計算する場合に正しい書き方です",
    ),
    "inverted": ("dropout is scaled in training", "学習時にスケーリングする方式です"),
    "classic": ("dropout is scaled in inference", "推論時にスケーリングする方式です"),
    "asked": (
        "like= asks for {what}, and no argument takes it",
        "like= の {what} を受け取る引数がありません",
    ),
    "no flag": (
        "there is no argument such as train_flg to tell training from inference",
        "学習と推論を分ける train_flg のような引数がありません",
    ),
    "share": (
        "{got:.0%} are dropped, expected {right:.0%}",
        "{got:.0%} が落とされていますが、正しくは {right:.0%} です",
    ),
    "not finite": (
        "{what} is {got}, expected {right}",
        "{what} が {got} ですが、正しくは {right} です",
    ),
    "passed": (
        "{subject}, compared with {like}: passed; {right} right, {wrong} wrong",
        "{subject}（{like} と比較）：合格。正しい {right}、誤り {wrong}",
    ),
    "not passed": (
        "{subject}, compared with {like}: not passed; {right} right, {wrong} wrong",
        "{subject}（{like} と比較）：不合格。正しい {right}、誤り {wrong}",
    ),
    "mend": ("How to mend it", "直し方"),
    "loss kind": ("the loss is {what}", "損失は {what} です"),
}

NAMES: dict[str, str] = {
    "forward": "順伝播",
    "dx": "dx",
    "dW": "dW",
    "db": "db",
    "batch of 1": "バッチサイズ 1",
    "one channel": "1 チャンネル",
    "image not square": "正方形でない画像",
    "kernel not square": "正方形でないカーネル",
    "stride 2": "ストライド 2",
    "padding 1": "パディング 1",
    "stride 2, padding 1": "ストライド 2・パディング 1",
    "windows that do not fit": "割り切れないサイズ",
    "x unchanged": "x を書き換えない",
    "dout unchanged": "dout を書き換えない",
    "parameters unchanged": "パラメータを書き換えない",
    "second call": "二度目の呼び出し",
    "integers": "整数の入力",
    "call": "呼び出し",
    "training": "学習時",
    "inference": "推論時",
    "large numbers": "大きな値",
    "at zero": "0 での勾配",
    "equal maxima": "等しい最大値",
    "negative maxima": "負の最大値",
    "overlapping windows": "重なる窓",
    "image as input": "画像の入力",
    "loss": "損失",
    "gradient": "勾配",
    "running statistics": "移動平均",
    "backward": "逆伝播",
    "constant feature": "一定の特徴",
    "one feature": "特徴が 1 つのとき",
    "one output": "出力が 1 つのとき",
    "random numbers": "乱数",
    "update": "更新",
    "one row": "1 行の入力",
    "dgamma": "dgamma",
    "dbeta": "dbeta",
    "output": "画面への出力",
    "zero probability": "確率 0",
}


def say(lang: str, key: str, **values: Any) -> str:
    """Write a sentence."""
    return WORDS[key][lang == "ja"].format(**values)


def title(lang: str, name: str) -> str:
    """Write what a check is called."""
    return NAMES.get(name, name) if lang == "ja" else name


def number(value: Any) -> str:
    """Write a number as short as it can be told apart."""
    return f"{float(value):.6g}"
