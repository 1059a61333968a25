"""Layers that change samples at random in training, and leave them alone otherwise."""

from xpcnn.layers.augmentation.affine import RandomAffine as RandomAffine
from xpcnn.layers.augmentation.affine import RandomRotation as RandomRotation
from xpcnn.layers.augmentation.base import Augmentation as Augmentation
from xpcnn.layers.augmentation.color import ColorJitter as ColorJitter
from xpcnn.layers.augmentation.crop import RandomCrop as RandomCrop
from xpcnn.layers.augmentation.crop import RandomResizedCrop as RandomResizedCrop
from xpcnn.layers.augmentation.erasing import RandomErasing as RandomErasing
from xpcnn.layers.augmentation.flip import RandomHorizontalFlip as RandomHorizontalFlip
from xpcnn.layers.augmentation.flip import RandomVerticalFlip as RandomVerticalFlip
from xpcnn.layers.augmentation.noise import GaussianBlur as GaussianBlur
from xpcnn.layers.augmentation.noise import GaussianNoise as GaussianNoise
from xpcnn.layers.augmentation.signal import RandomScale as RandomScale
from xpcnn.layers.augmentation.signal import RandomShift as RandomShift
from xpcnn.layers.augmentation.signal import TimeMask as TimeMask
