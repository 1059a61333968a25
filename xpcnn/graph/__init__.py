"""One executor: a network as one list of steps, which is run forward and backward."""

from xpcnn.graph.program import Program, made_of

__all__ = ["Program", "made_of"]
