"""The Helm chart: linted and rendered by Helm itself, checked by Kubernetes' schemas, its arguments by our parser."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from beamsplit.pipelines.options.score import parse, parser
from beamsplit.pipelines.options.values import value_of
from beamsplit.runners.errors import RunnerError
from beamsplit.runners.java import find_java
from beamsplit.runners.maven import maven_jars

CHART = Path(__file__).parents[2] / "deploy/helm/beamsplit"
HELM = "com.marcnuri.helm-java:helm-java:0.0.17"
KUBERNETES = "1.33"
OPTIONS = {"model": "s3://models/m.onnx", "input": "kafka://broker:9092/in", "output": "kafka://broker:9092/out"}
IMAGE = {"repository": "registry.example/beamsplit"}
MANY = {
    "keep": ["id", "name"],
    "set": ["k=1", "t=2.5"],
    "finish": ["argmax", "names:a,b"],
    "batch_size": 1000000,
    "max_failed": "5%",
    "narrow": True,
}
FILES = {**OPTIONS, "input": "s3://data/*.parquet", "output": "s3://data/preds/"}

VALUES: dict[str, dict[str, Any]] = {
    "stream": {"image": IMAGE, "options": OPTIONS},
    "all": {
        "image": {**IMAGE, "pullSecrets": [{"name": "registry"}]},
        "options": {
            **OPTIONS,
            "keep": ["id", "name"],
            "set": ["k=1", "t=2.5"],
            "finish": ["argmax", "names:a,b"],
            "batch_size": 1000000,
            "max_failed": "5%",
            "narrow": True,
        },
        "kafkaConfig": {"existingSecret": "kafka"},
        "env": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "envFrom": [{"secretRef": {"name": "store"}}],
        "flink": {"taskManagers": 4, "slots": 3, "configuration": {"state.backend.type": "rocksdb"}},
        "workers": {
            "gpus": 3,
            "nodeSelector": {"pool": "gpu"},
            "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        },
        "checkpoints": {"uri": "s3://state/checkpoints", "interval": "30s"},
        "metrics": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
    },
    "batch": {
        "mode": "batch",
        "image": IMAGE,
        "options": {**FILES, "resume": True},
        "workers": {"gpus": 1},
        "batch": {
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
    },
    "bare": {"image": IMAGE, "options": OPTIONS, "metrics": {"enabled": False}, "networkPolicy": {"enabled": False}},
    "own option": {"image": IMAGE, "options": {**OPTIONS, "runner": "DirectRunner"}},
    "no image": {"options": OPTIONS},
    "typing error": {"image": IMAGE, "options": OPTIONS, "worker": {}},
    "dashes": {"image": IMAGE, "options": {"--model": "m.onnx"}},
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """What Helm makes of each of `VALUES`: the resources, or why not; and what it says of the chart (`lint`)."""
    try:
        java, jars = find_java(), maven_jars(HELM)
    except RunnerError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    given, made = tmp_path_factory.mktemp("values"), tmp_path_factory.mktemp("rendered")
    files = []
    for name, values in VALUES.items():
        files.append(given / f"{name}.yaml")
        files[-1].write_text(yaml.safe_dump(values))
    program = Path(__file__).with_name("RenderChart.java")
    command = [java, "-cp", f"{jars}/*", program, CHART, made, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {file.stem if file.suffix == ".yaml" else file.name: file.read_text() for file in made.iterdir()}


def resources(text: str) -> dict[str, dict[str, Any]]:
    """By kind; there is one of each."""
    found = [one for one in yaml.safe_load_all(text) if one]
    kinds = {one["kind"]: one for one in found}
    assert len(kinds) == len(found)
    return kinds


def pods(deployment: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those whose parts Flink's operator puts together: it knows its own container by the name, and gives the image."""
    made = []
    for template in (deployment["spec"]["podTemplate"], deployment["spec"]["taskManager"]["podTemplate"]):
        containers = [{"image": "flink", **one} for one in template["spec"]["containers"]]
        metadata = {"name": "pod", **template.get("metadata", {})}
        spec = {**template["spec"], "containers": containers}
        made.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return made


def container(kinds: Mapping[str, Any], kind: str) -> dict[str, Any]:
    (only,) = kinds[kind]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_helm_finds_nothing_wrong(rendered: Mapping[str, str]):
    assert rendered["lint"].splitlines()[0] == "passed", rendered["lint"]
    assert "[WARNING]" not in rendered["lint"] and "[ERROR]" not in rendered["lint"]


@pytest.mark.parametrize("name", ["stream", "all", "batch", "bare"])
def test_resources_are_as_kubernetes_wants_them(rendered: Mapping[str, str], name: str):
    for kind, one in resources(rendered[name]).items():
        for each in pods(one) if kind == "FlinkDeployment" else [one] if kind != "PodMonitor" else []:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)


def test_arguments_are_options_of_the_command(rendered: Mapping[str, str]):
    asked, of_beam = parse(container(resources(rendered["all"]), "Deployment")["args"])
    assert value_of(asked, "model") == OPTIONS["model"] and value_of(asked, "keep") == ("id", "name")
    assert value_of(asked, "set") == {"k": "1", "t": "2.5"} and value_of(asked, "finish") == ("argmax", "names:a,b")
    assert value_of(asked, "batch_size") == 1000000 and value_of(asked, "narrow")
    assert of_beam == ["--environment_type=EXTERNAL", "--environment_config=localhost:50000"]
    asked, of_beam = parse(container(resources(rendered["batch"]), "Job")["args"])
    assert value_of(asked, "resume") and value_of(asked, "metrics") is None and not of_beam


def test_the_chart_knows_which_options_take_several_values():
    said = dict(
        re.findall(r"\$(several|repeated) := list ([^}]*?) -}}", (CHART / "templates/_helpers.tpl").read_text())
    )
    actions = [
        (type(one).__name__, one.nargs, one.option_strings[-1][2:]) for one in parser()._actions if one.option_strings
    ]
    assert said["several"] == " ".join(f'"{name}"' for _, nargs, name in actions if nargs == "+")
    assert said["repeated"] == " ".join(f'"{name}"' for kind, _, name in actions if kind == "_AppendAction")


def test_each_worker_process_is_seen(rendered: Mapping[str, str]):
    kinds = resources(rendered["all"])
    workers = kinds["FlinkDeployment"]["spec"]["taskManager"]["podTemplate"]["spec"]["containers"][1]
    assert [port["containerPort"] for port in workers["ports"]] == [9400, 9401, 9402]
    read = [one["port"] for one in kinds["PodMonitor"]["spec"]["podMetricsEndpoints"]]
    assert read == [port["name"] for port in workers["ports"]]
    opened = kinds["NetworkPolicy"]["spec"]["ingress"][-1]["ports"][0]
    assert (opened["port"], opened["endPort"]) == (9400, 9402)
    assert "--parallelism=12" in container(kinds, "Deployment")["args"]


def test_secrets_and_places_reach_workers_and_command(rendered: Mapping[str, str]):
    kinds = resources(rendered["all"])
    workers = kinds["FlinkDeployment"]["spec"]["taskManager"]["podTemplate"]["spec"]["containers"][1]
    for each in (workers, container(kinds, "Deployment")):
        assert {"name": "kafka-config", "mountPath": "/etc/beamsplit/kafka", "readOnly": True} in each["volumeMounts"]
        assert each["envFrom"] == [{"secretRef": {"name": "store"}}]
        assert each["securityContext"]["runAsNonRoot"] and each["securityContext"]["readOnlyRootFilesystem"]
    assert workers["resources"]["limits"] == {"memory": "6Gi", "nvidia.com/gpu": "3"}
    flink = kinds["FlinkDeployment"]["spec"]["flinkConfiguration"]
    assert flink["state.checkpoints.dir"] == "s3://state/checkpoints" and flink["state.backend.type"] == "rocksdb"
    assert "PersistentVolumeClaim" not in kinds
    claim = resources(rendered["stream"])["PersistentVolumeClaim"]["metadata"]["name"]
    (volume,) = resources(rendered["stream"])["FlinkDeployment"]["spec"]["podTemplate"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own option", "options.runner is set by this chart"),
        ("no image", "image.repository: name the image"),
        ("typing error", "'worker' not allowed"),
        ("dashes", "--model"),
    ],
)
def test_wrong_values_are_refused(rendered: Mapping[str, str], name: str, said: str):
    assert said in rendered[f"{name}.error"] and name not in rendered
