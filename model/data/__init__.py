"""Signatures to train and measure on: readers, the synthetic writer, splits, augmentation and sampling."""
