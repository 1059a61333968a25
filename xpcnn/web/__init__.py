"""A trained network on a web page: one draws, and it predicts in the browser.

``xpcnn export --web OUT/`` does the same from the command line.
"""

from xpcnn.web.page import FILES, export
from xpcnn.web.runtime import NPM_PACKAGE

__all__ = ["FILES", "NPM_PACKAGE", "export"]
