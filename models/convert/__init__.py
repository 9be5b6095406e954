"""Models of other libraries as ONNX, compared with their originals. Another library is a row in `KINDS`, and a file."""
