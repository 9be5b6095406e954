"""Graphs, signatures, bindings and sessions of ONNX models. Knows neither Beam nor any source of data."""

import os

if os.environ.get("BEAMSPLIT_ORT_TELEMETRY") != "1":
    # ONNX Runtime looks at it when it is loaded, and else keeps a database in the user's cache folder; what
    # `disable_telemetry_events` turns off comes later. Processes that this one starts inherit it.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
