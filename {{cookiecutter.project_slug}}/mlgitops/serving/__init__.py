"""The model server: answers from the exported ONNX file, verified at start."""
