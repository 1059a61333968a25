"""What a prediction comes from: which numbers of the input speak for a class, and which against.

All of them work on a model as it predicts: dropout does nothing, normalisation uses its running
statistics, and afterwards the model is as it was, gradients of parameters included.
"""

from xpcnn.attribution.class_maps import grad_cam as grad_cam
from xpcnn.attribution.gradients import integrated_gradients as integrated_gradients
from xpcnn.attribution.gradients import saliency as saliency
from xpcnn.attribution.windows import occlusion as occlusion

__all__ = ["grad_cam", "integrated_gradients", "occlusion", "saliency"]
