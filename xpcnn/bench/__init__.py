"""``xpcnn bench``: xpcnn against PyTorch, onnxruntime and others, on the machine at hand.

``workloads`` says what is run and ``networks`` of what layers, once for all libraries; ``own`` and
``baselines`` turn that into steps of one library; ``worker`` is the process that runs them;
``turns`` starts one process for each library and lets them take turns; ``compare`` goes through
the workloads and ``report`` shows what came.

This file imports nothing, and neither ``workloads``, ``program`` nor ``baselines`` imports the rest
of xpcnn before it is asked for it: the memory of a baseline's process is to be its own.
"""
