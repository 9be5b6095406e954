"""Installs beamsplit; Dataflow and Flink workers install from this file too (--setup_file=./setup.py)."""

from pathlib import Path

from setuptools import find_packages, setup

# onnxruntime-gpu has wheels for Linux and Windows on x86-64 only; where there is no GPU it runs on the CPU.
GPU_WHEELS = "(sys_platform == 'linux' and platform_machine == 'x86_64') or (sys_platform == 'win32' and platform_machine == 'AMD64')"
NO_GPU_WHEELS = "(sys_platform != 'linux' or platform_machine != 'x86_64') and (sys_platform != 'win32' or platform_machine != 'AMD64')"

EXTRAS = {
    "image": ["pillow>=10"],
    "text": ["tokenizers>=0.20"],
    "tfrecord": ["google-crc32c>=1.5"],
    # simdjson reads JSON that holds numbers in less time, orjson writes it so; files too, where they are there.
    "kafka": ["confluent-kafka>=2.5", "orjson>=3.10", "pysimdjson>=7"],
    "registry": [
        "confluent-kafka[schemaregistry]>=2.8",
        "fastavro>=1.9",
        "grpcio-tools>=1.66",
        "jsonschema-rs>=0.30",
        "orjson>=3.10",
        "pysimdjson>=7",
    ],
    "where": ["sqlglot>=26"],
    # Bounds of splits whose graphs have too many down-sets: HiGHS.
    "planner": ["scipy>=1.14.1"],
    "lance": ["pylance>=14", "sqlglot>=26"],
    "delta": ["deltalake>=1.6", "sqlglot>=26"],
    "iceberg": ["pyiceberg[sql-sqlite]>=0.12", "sqlglot>=26"],
    "sql": [
        "adbc-driver-manager>=1.8",
        "adbc-driver-postgresql>=1.8",
        "adbc-driver-sqlite>=1.8",
        "sqlglot>=26",
    ],
    "mlflow": ["mlflow-skinny>=3"],
    "openlineage": ["openlineage-python>=1.30"],
    "hf": ["huggingface-hub>=1"],
    "convert": ["skl2onnx>=1.20", "onnxmltools>=1.16", "skops>=0.12"],
    "yaml": ["apache-beam[yaml]>=2.76"],
    # 2025.3: copies of more than 5 GB, and retries of answers that are cut.
    "gcp": ["apache-beam[gcp]>=2.76", "gcsfs>=2025.3"],
    "aws": ["s3fs>=2025.3"],
    "lint": ["ruff>=0.8", "mypy>=1.13", "pre-commit>=4"],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6", "mkdocstrings[python]>=0.30"],
    "test": [
        "pytest>=8",
        "pytest-xdist>=3.5",
        "pytest-rerunfailures>=14",
        "hypothesis>=6.100",
        "scikit-learn>=1.5",
        "skl2onnx>=1.20",
        "pandas>=2.2",
        "nbmake>=1.5",
        "psutil>=6.0",
        # Which test executes which line; from here on it measures processes that tests start.
        "coverage>=7.10",
        "trustme>=1.1",
        "datasets>=3.2",
        "matplotlib>=3.9",
        "uv>=0.8",
        # Stores: their clients, and servers of their protocols on this machine.
        "s3fs>=2025.3",
        "gcsfs>=2025.3",
        "moto[s3]>=5.1",
        "flask>=3",
        "flask-cors>=5",
        "gcp-storage-emulator>=2024.8",
        "mlflow-skinny>=3",
        "openlineage-python>=1.30",
        "huggingface-hub>=1",
        # What models are converted from.
        "onnxmltools>=1.16",
        "skops>=0.12",
        "xgboost-cpu>=3",
        "lightgbm>=4.6",
        "catboost>=1.2.7",
        # A database whose ADBC driver is none of ours.
        "duckdb>=1.4",
        # What the Helm chart makes, by Kubernetes' schemas.
        "kubernetes-validate>=1.33",
        # Deletion vectors of Delta tables.
        "pyroaring>=1.0",
    ],
    # --metrics: what Prometheus reads.
    "metrics": ["prometheus-client>=0.21"],
    "bench": [
        "scikit-learn>=1.5",
        "skl2onnx>=1.20",
        "daft>=0.7",
        "pyiceberg>=0.12",  # Daft's writer of Delta tables imports it
        "polars>=1.30",
        "matplotlib>=3.9",
        "psutil>=6.0",
        "confluent-kafka>=2.5",
        "orjson>=3.10",
        "quixstreams>=3.20",
        "bytewax>=0.21; python_version < '3.13'",
    ],
    # Magika itself is installed by `make demo` without its dependencies: it asks for the package
    # onnxruntime, which overwrites the files of onnxruntime-gpu. Only its model files are used.
    "demo": [],
}

LAYERS = ("models", "transforms", "pipelines", "runners")
"""Folders of the checkout; installed, they lie inside the one package `beamsplit`."""

setup(
    name="beamsplit",
    version="0.1.0",
    description="Distributed inference of ONNX models as a dataflow, on Apache Beam",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=["beamsplit", *(f"beamsplit.{name}" for name in find_packages(include=[f"{layer}*" for layer in LAYERS]))],
    package_dir={"beamsplit": "beamsplit", **{f"beamsplit.{layer}": layer for layer in LAYERS}},
    package_data={"beamsplit": ["py.typed", "providers.yaml"], "beamsplit.pipelines.report.html": ["*.jinja"]},
    install_requires=[
        "apache-beam>=2.76",
        "onnx>=1.19",
        "onnx-ir>=1.0",
        "pyarrow>=25",
        "numpy>=2.0",
        "zstandard>=0.22",
        "platformdirs>=4",
        "filelock>=3.12",
        "requests>=2.32",
        "rich>=13",
        "jinja2>=3.1",
        f"onnxruntime-gpu>=1.29; python_version >= '3.11' and ({GPU_WHEELS})",
        f"onnxruntime>=1.29; python_version >= '3.11' and ({NO_GPU_WHEELS})",
        # The last one that Python 3.10 has.
        f"onnxruntime-gpu>=1.23.2; python_version < '3.11' and ({GPU_WHEELS})",
        f"onnxruntime>=1.23.2; python_version < '3.11' and ({NO_GPU_WHEELS})",
    ],
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["beamsplit = beamsplit.pipelines.__main__:main"]},
)
