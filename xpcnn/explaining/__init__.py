"""Operations explained with their numbers, as text, as HTML and as moving pictures."""

from xpcnn.explaining.explanation import Explanation as Explanation
from xpcnn.explaining.explanation import explain as explain

__all__ = ["Explanation", "explain"]
