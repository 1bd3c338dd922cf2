"""An ONNX file as a user's model: read, inspected, given shapes and values, and computed in float64."""
