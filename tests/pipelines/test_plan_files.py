"""The files that a plan names lie in its folder and hold what its hashes say."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from beamsplit.models.errors import UsageError
from beamsplit.models.graph.known_files import content_hash
from beamsplit.models.split.plan import read_plan
from beamsplit.pipelines.plan import main as plan_main
from beamsplit.transforms.infer.whole_step import WholeStep
from tests import onnx_models
from tests.command import Command

WAYS = {
    "stages": ("--stages", "2", "--micro_batch", "16", "--save_stages"),
    "shards": ("--shards", "2", "--save_shards"),
    "both": ("--stages", "2", "--shards", "2", "--micro_batch", "16", "--save_stages"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are large enough to lie beside it, and each kind of plan of it."""
    folder = tmp_path_factory.mktemp("saved")
    onnx_models.save(onnx_models.mlp(4, 760, 2, layers=3), folder / "m.onnx", external="m.onnx.data")
    for name, options in WAYS.items():
        assert plan_main(["--model", f"{folder}/m.onnx", *options, f"{folder}/{name}"]) == 0
    return folder


@pytest.fixture
def given(saved: Path, command: Command) -> Command:
    """The command with copies of these."""
    shutil.copytree(saved, command.folder / "given")
    command.model = str(command.folder / "given" / "m.onnx")
    return command


def plan_of(given: Command, way: str) -> Path:
    return given.folder / "given" / way / "plan.json"


def rewrite(path: Path, change: Any) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def nudge(file: Path) -> None:
    """Change weights by 1e-5 of them."""
    if file.suffix == ".data":
        values = np.fromfile(file, np.float32)
        values[np.abs(values).argmax()] *= 1.00001
        values.tofile(file)
        return
    model = onnx.load(file, load_external_data=False)
    model.doc_string += "something else"
    for one in model.graph.initializer:
        if one.data_location != onnx.TensorProto.EXTERNAL:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one) * np.float32(1.00001), one.name))
    onnx.save(model, file)


@pytest.mark.parametrize("way", WAYS)
def test_each_file_is_known_by_its_hash(given: Command, way: str):
    plan = plan_of(given, way)
    files = sorted(plan.parent.rglob("*.onnx*"))
    data = [file for file in files if file.suffix == ".data"]
    for file in {files[0], data[0], files[-1]}:
        before = file.read_bytes()
        nudge(file)
        error = given.error("--plan", plan)
        named = file.with_suffix("") if file.suffix == ".data" else file
        assert f"{named} is not what the plan saved: its SHA-256 begins with " in error
        assert error.endswith("save it again with python -m pipelines.plan, or copy the whole folder again")
        file.write_bytes(before)
    code, _, err = given.run("--keep", "id", "--num_shards", 1, "--plan", plan)
    assert code == 0, err


def test_the_hash_is_that_of_the_usual_tools(given: Command):
    plan = read_plan(str(plan_of(given, "stages")))
    folder = plan_of(given, "stages").parent
    assert [content_hash(str(folder / str(stage.file))) for stage in plan.stages] == [s.sha256 for s in plan.stages]


@pytest.mark.parametrize("way", WAYS)
def test_the_weights_of_the_whole_model_are_known_too(given: Command, way: str, capsys: pytest.CaptureFixture[str]):
    nudge(given.folder / "given" / "m.onnx.data")
    plan = plan_of(given, way)
    wanted = "is of m.onnx with other weights than --model .* has in its external data"
    assert re.search(wanted, given.error("--plan", plan))
    if way != "both":
        assert plan_main(["--model", given.model, "--plan", str(plan)]) == 2
        assert "with other weights than --model" in capsys.readouterr().err


OUTSIDE = ["../stages/stage-0.onnx", "/etc/hostname", "a/../../m.onnx", "C:\\m.onnx", "..\\m.onnx", "", "a\0b", ".."]


@pytest.mark.parametrize("file", OUTSIDE)
def test_names_outside_the_folder_are_refused(given: Command, file: str):
    for way in WAYS:

        def change(values: dict[str, Any], way: str = way) -> None:
            stage = values["stages"][0]
            if way == "stages":
                stage["file"] = file
            elif way == "shards":
                stage["files"][0] = file
            else:
                stage["shards"]["stages"][0]["files"][0] = file

        rewrite(plan_of(given, way), change)
        error = given.error("--plan", plan_of(given, way))
        assert f"names the file {file!r}, and files of a plan lie in its folder" in error


@pytest.mark.parametrize("what", ["file", "data", "folder"])
def test_links_out_of_the_folder_are_refused(given: Command, what: str):
    plan = plan_of(given, "stages")
    elsewhere = given.folder / "elsewhere"
    shutil.copytree(plan.parent, elsewhere)
    if what == "folder":
        shutil.copytree(plan.parent, plan.parent / "sub")
        rewrite(plan, lambda v: [stage.update(file=f"sub/{stage['file']}") for stage in v["stages"]])
        assert given.run("--dry_run_plan", "--plan", plan)[0] == 0
        shutil.rmtree(plan.parent / "sub")
        (plan.parent / "sub").symlink_to(elsewhere)
    else:
        name = next(elsewhere.glob("*.data")).name if what == "data" else "stage-0.onnx"
        (plan.parent / name).unlink()
        (plan.parent / name).symlink_to(elsewhere / name)
    error = given.error("--plan", plan)
    assert "is a link out of the plan's folder" in error or "outside the model's folder" in error


def test_a_plan_that_is_a_link_has_its_files_where_it_leads(given: Command):
    """As in a cache of Hugging Face."""
    plan = plan_of(given, "stages")
    view = given.folder / "view"
    view.mkdir()
    for file in plan.parent.iterdir():
        (view / file.name).symlink_to(file)
    code, _, err = given.run("--dry_run_plan", "--plan", view / "plan.json")
    assert code == 0, err


def test_without_hashes_a_plan_is_made_again(given: Command):
    for way in ("stages", "both"):
        rewrite(plan_of(given, way), lambda v: [stage.pop("sha256") for stage in v["stages"]])
        assert "does not say what stage-0.onnx holds (an older version made it" in given.error(
            "--plan", plan_of(given, way)
        )


def test_shards_without_hashes_are_divided_again_and_files_beside_them_not_read(given: Command):
    plan = plan_of(given, "shards")
    rewrite(plan, lambda v: [stage.pop("sha256") for stage in v["stages"]])
    for file in plan.parent.glob("*.onnx"):
        file.write_bytes(b"nonsense")
    code, _, err = given.run("--dry_run_plan", "--plan", plan)
    assert code == 0, err


def test_a_plan_elsewhere_does_not_name_files_outside_its_folder(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "plans").mkdir()
    for way in ("stages", "shards"):
        out = tmp_path / "plans" / f"{way}.json"
        argv = ["--model", f"{saved}/m.onnx", *WAYS[way], f"{tmp_path}/{way}", "--output", f"{out}"]
        assert plan_main(argv) == 0
        assert f"note: --output {out} does not name the files in {tmp_path}/{way}" in capsys.readouterr().err
        text = out.read_text()
        assert "../" not in text and "sha256" in text


def test_a_worker_checks_what_it_loads(given: Command):
    plan = plan_of(given, "stages")
    stage = read_plan(str(plan)).stages[0]
    file = str(plan.parent / str(stage.file))
    step = WholeStep(0, file, None, None, (), None, None, sha256=stage.sha256)  # type: ignore[arg-type]
    nudge(Path(f"{file}.data") if os.path.exists(f"{file}.data") else Path(file))
    with pytest.raises(UsageError, match="is not what the plan saved"):
        step.loaded()
    with pytest.raises(UsageError, match="cannot be read"):
        replace(step, file=f"{file}.gone").loaded()


def test_names_of_tensors_that_the_files_do_not_have(given: Command):
    def nested(values: dict[str, Any]) -> None:
        values["stages"][0]["shards"]["stages"][0]["outputs"] = []

    changes: dict[str, list[Any]] = {
        "stages": [lambda v: v["stages"][1].update(inputs=["z"]), lambda v: v["stages"][0].update(outputs=[])],
        "shards": [lambda v: v["stages"][0].update(outputs=["z"]), lambda v: v.update(outputs=[])],
        "both": [lambda v: v["stages"][1].update(inputs=[]), lambda v: v["stages"][0].update(outputs=["z"]), nested],
    }
    for way, each in changes.items():
        plan = plan_of(given, way)
        before = plan.read_text()
        for change in each:
            rewrite(plan, change)
            assert re.search("the plan makes |save the stages again|make the plan again", given.error("--plan", plan))
            plan.write_text(before)
