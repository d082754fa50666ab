"""Phones: adb, TensorFlow's benchmark tool, a journal that survives a pulled cable."""
