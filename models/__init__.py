"""Graphs, signatures, bindings and sessions of ONNX models. Knows neither Beam nor any source of data."""
