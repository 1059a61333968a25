"""The workloads as other libraries run them: PyTorch, JAX, onnxruntime, OpenVINO.

These files, and those that find devices and hold kernels, are the only ones that name array
libraries: what is compared here is their own layers and optimizers, not arrays, so there is no
door of ours to go through. They are imported inside the functions, in a process that has nothing
else to do.
"""
