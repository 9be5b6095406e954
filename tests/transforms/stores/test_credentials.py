"""Credentials that should come from somewhere and do not: told as such, and never as a file that is not there."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from beamsplit.transforms.stores.store import below, read_all, stat
from beamsplit.transforms.stores.store_errors import StoreError

s3fs = pytest.importorskip("s3fs")

CONFIG = """
[profile sso]
sso_start_url = https://example.com/start
sso_region = us-east-1
sso_account_id = 1
sso_role_name = r
[profile command]
credential_process = /bin/echo no JSON
"""
TOKEN = {"AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r"}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (TOKEN, "No such file or directory: '/nowhere/token'"),
        ({"AWS_PROFILE": "other"}, "profile .other. could not be found"),
        ({"AWS_PROFILE": "sso"}, "Error loading SSO Token"),
        ({"AWS_PROFILE": "command"}, "Expecting value"),
        ({"AWS_CONFIG_FILE": __file__}, "Unable to parse config file"),
        ({}, None),
    ],
    ids=["token", "profile", "sso", "command", "config", "none"],
)
def test_credentials_that_do_not_come(
    given: dict[str, str],
    why: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(CONFIG)
    own = {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    own |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in (own | given).items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    told = "were found" if why is None else rf"can be had \(.*{why}.*\)"
    try:
        for do in (stat, read_all, below):
            with pytest.raises(StoreError, match=f"no credentials for Amazon S3 {told}; set AWS_ACCESS_KEY_ID and"):
                do("s3://bucket/a")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_command_that_gives_credentials_is_run_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked = tmp_path / "asked"
    key = {"Version": 1, "AccessKeyId": "a", "SecretAccessKey": "b", "Expiration": "2999-01-01T00:00:00Z"}
    (tmp_path / "command").write_text(f"#!/bin/sh\necho >> {asked}\necho '{json.dumps(key)}'\n")
    (tmp_path / "command").chmod(0o700)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {tmp_path / 'command'}\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    from beamsplit.transforms.stores.s3 import file_system

    try:
        assert file_system() is file_system()
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert asked.read_text() == "\n"
