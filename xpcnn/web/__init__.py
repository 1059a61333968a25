"""A trained network on a web page: one draws, and it predicts in the browser.

``xpcnn export --web OUT/`` does the same from the command line.
"""

from xpcnn.web.page import export

__all__ = ["export"]
