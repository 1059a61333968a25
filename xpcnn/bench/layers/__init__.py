"""``xpcnn bench --layers``: every layer and loss beside PyTorch's of the same name.

``cases`` has arguments and inputs, once for both libraries; ``own`` makes what xpcnn runs of a
case, ``baselines.torch_layers`` what PyTorch runs; ``compare`` lets the two take turns, and
``report`` shows what came. As in ``bench``, neither this file nor ``cases`` imports the rest of
xpcnn.
"""
