"""On instances of the same shapes as the published ones, made here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from beamsplit.models.split.balance import balance
from benchmarks import planner
from benchmarks.planner_instances import read_partitioning, read_tokens


def node(number, seconds, color=None, size=0.0):
    return {"id": number, "fpgaLatency": seconds, "size": size} | ({} if color is None else {"colorClass": color})


def edge(source, reader, cost):
    return {"sourceId": source, "destId": reader, "cost": cost}


def write(folder: Path, nodes, edges, workers=2, **more) -> Path:
    path = folder / "made_up.json"
    path.write_text(json.dumps({"nodes": nodes, "edges": edges, "maxFPGAs": workers, **more}))
    return path


def test_a_weight_is_held_by_each_stage_that_reads_it(tmp_path: Path):
    # 9 is a weight that is transposed (8) for the first and the last node: as a tensor it would cost 100.
    nodes = [node(9, 0, size=50.0), node(8, 0), node(1, 2), node(2, 2), node(3, 4)]
    edges = [edge(9, 8, 100), edge(8, 1, 100), edge(8, 3, 100), edge(1, 2, 1), edge(2, 3, 1)]
    instance = read_partitioning(write(tmp_path, nodes, edges, maxSizePerFPGA=60), "direct")
    assert sorted(instance.problem.seconds) == [2, 2, 4]
    assert [sorted(one.users) for one in instance.problem.weights if one.nbytes] == [[0, 2]]
    found = balance(instance.problem, instance.workers)
    assert (found.period, found.stage_memory, found.links) == (5, (50, 50), "direct")


def test_a_color_and_a_cycle_are_one_unit(tmp_path: Path):
    nodes = [node(1, 1, "red"), node(2, 2), node(3, 1, "red"), node(4, 1)]
    edges = [edge(1, 2, 5), edge(2, 3, 5), edge(3, 4, 5), edge(1, 4, 7)]
    problem = read_partitioning(write(tmp_path, nodes, edges), "chain").problem
    assert problem.seconds == (4, 1)
    assert sorted(value.nbytes for value in problem.values) == [5, 7]


def pipeedge(folder: Path) -> None:
    yaml = pytest.importorskip("yaml")
    profile = {"batch_size": 8, "dtype": "torch.float32", "time_s": [1.0, 1.0, 1.0, 1.0]}
    one = {"layers": 4, "mem_MB": [10.0] * 4, "parameters_in": 0, "parameters_out": [31250] * 4}
    (folder / "models.yml").write_text(yaml.safe_dump({"some/net": one}))
    device = {"bw_Mbps": 8, "mem_MB": 25, "model_profiles": {"some/net": [profile]}}
    (folder / "device_types.yml").write_text(yaml.safe_dump({"Board": device}))


def test_the_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    write(tmp_path, [node(1, 1), node(2, 1)], [edge(1, 2, 0.5)])
    pipeedge(tmp_path)
    (tmp_path / "dllama.csv").write_text(
        "model,device,devices,ms_a_token\nllama2-7b-q40,RaspberryPi-4B-8GB,1,1000\n"
        "llama2-7b-q40,RaspberryPi-4B-8GB,2,600\nllama2-7b-q40,RaspberryPi-5-8GB,2,600\n"
    )
    assert planner.main(["--instances", str(tmp_path)]) == 0
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines()]
    assert ["made_up", "2", "2", "direct", "chain", "1.5", "1.5", "chain", "0.00%"] in [line[:9] for line in lines]
    # 1 MB over a megabyte a second, in and out.
    assert ["net, Board", "1", "does not fit"] in [line[:3] for line in lines]
    assert ["net, Board", "2", "2", "1.00", "0.00%", "", ""] in lines
    assert [line[1] for line in lines if line[0].startswith("llama")] == ["2"]


def test_a_token_over_more_devices_computes_less_and_sends_more(tmp_path: Path):
    seconds = [planner.predicted_token("llama2-7b-q40", 1.3, devices) for devices in (1, 2, 4, 64)]
    assert seconds[0] == pytest.approx(1.3)
    assert seconds[0] > seconds[1] > seconds[2] < seconds[3]
    path = tmp_path / "t.csv"
    path.write_text("model,device,devices,ms_a_token\na,b,2,1500\n")
    assert read_tokens(path)[0].seconds == 1.5


@pytest.mark.parametrize("files", [{}, {"a.json": "[]"}, {"a.json": "{"}])
def test_a_folder_of_nothing_that_is_known_is_refused(tmp_path: Path, files, capsys: pytest.CaptureFixture[str]):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert planner.main(["--instances", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: --instances ")
