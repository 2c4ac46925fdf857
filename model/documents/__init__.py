"""Composed pages: drawn cheques, forms and letters with signatures, to train and test the segmentation network."""
