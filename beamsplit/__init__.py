"""Distributed inference of ONNX models as a dataflow, on Apache Beam."""

from __future__ import annotations

import os

_HERE = os.path.dirname(os.path.abspath(__file__))

if not os.path.isdir(os.path.join(_HERE, "models")):
    # A checkout: the layers lie beside this folder. Installed, they lie in it.
    __path__.append(os.path.dirname(_HERE))
