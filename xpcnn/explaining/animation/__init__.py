"""Moving pictures of a window that slides over an image: HTML with a slider, and GIF."""

from xpcnn.explaining.animation.animating import Animation, animate

__all__ = ["animate", "Animation"]
