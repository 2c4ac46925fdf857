"""Signature data for training and evaluation: readers, splits, augmentation and cached ink."""
