"""Dataset builders (TFDS, array_record files, no TensorFlow)."""
