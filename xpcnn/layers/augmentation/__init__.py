"""Layers that change samples at random in training, and leave them alone otherwise."""

from xpcnn.layers.augmentation.base import Augmentation as Augmentation
from xpcnn.layers.augmentation.crop import RandomCrop as RandomCrop
from xpcnn.layers.augmentation.crop import RandomResizedCrop as RandomResizedCrop
from xpcnn.layers.augmentation.flip import RandomHorizontalFlip as RandomHorizontalFlip
from xpcnn.layers.augmentation.flip import RandomVerticalFlip as RandomVerticalFlip
