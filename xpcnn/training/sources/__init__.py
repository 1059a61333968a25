"""Where the samples of training come from: one class for each kind of source."""
