"""What a layer or a loss does with the numbers given, step by step."""

from xpcnn.explaining.explanation import Explanation as Explanation
from xpcnn.explaining.explanation import explain as explain

__all__ = ["Explanation", "explain"]
