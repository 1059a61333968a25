"""Machine code for kernels: how it is made, where it comes from, and what runs it."""
