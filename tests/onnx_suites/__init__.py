"""The ONNX suites: every model that carries rows, whole, cut in two and in two shards, beside the outputs it ships."""
