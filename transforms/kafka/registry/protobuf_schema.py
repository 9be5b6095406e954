"""Schemas of Protobuf: from the text of a .proto, or a descriptor in base64, to the messages that they describe."""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import Descriptor

MAIN = "of_the_registry.proto"
COMPILE_SECONDS = 60


class BadSchema(ValueError):
    """A schema cannot be read, or has no such message; says why."""


class ProtobufSchema:
    """The messages of a file.

    Args:
        files: descriptors of it (the last) and of what it imports, those first that others import.
    """

    def __init__(self, files: Sequence[Any]) -> None:
        pool = descriptor_pool.DescriptorPool()
        try:
            for file in files:
                pool.AddSerializedFile(file.SerializeToString())
            self._pool, self._file = pool, files[-1]
            pool.FindFileByName(self._file.name)
        except (TypeError, KeyError) as error:
            raise BadSchema(f"its schema cannot be read: {_one_line(str(error))}") from error

    def message(self, name: str | None) -> Descriptor:
        """The message of a full name; the first of the file where there is none.

        Raises:
            BadSchema: there is none.
        """
        if name is None:
            return self.at((0,))
        try:
            found: Descriptor = self._pool.FindMessageTypeByName(name)
            return found
        except KeyError:
            raise BadSchema(f"its schema has no message {name}; it has {', '.join(self.names) or 'none'}") from None

    @property
    def names(self) -> list[str]:
        """Full names of the messages that are in no other."""
        space = f"{self._file.package}." if self._file.package else ""
        return [f"{space}{message.name}" for message in self._file.message_type]

    def at(self, path: Sequence[int]) -> Descriptor:
        """The message at a place: its number in the file, then in the message around it.

        Raises:
            BadSchema: there is none.
        """
        messages, name = self._file.message_type, self._file.package
        for number in path:
            own = _own(messages)
            if not 0 <= number < len(own):
                raise BadSchema(f"its schema has no message at {list(path)}")
            name = f"{name}.{own[number].name}" if name else own[number].name
            messages = own[number].nested_type
        return self.message(name)

    def path(self, message: Descriptor) -> tuple[int, ...]:
        """The place of a message of the file, as `at` takes it.

        Raises:
            BadSchema: it is none of the file's own.
        """
        space = f"{self._file.package}." if self._file.package else ""
        messages, path = self._file.message_type, list[int]()
        for name in message.full_name.removeprefix(space).split("."):
            own = _own(messages)
            number = next((at for at, one in enumerate(own) if one.name == name), None)
            if number is None:
                raise BadSchema(f"its schema only imports the message {message.full_name}; name one of its own")
            path.append(number)
            messages = own[number].nested_type
        return tuple(path)


def _own(messages: Any) -> list[Any]:
    """Those that the text of the schema has: the entries of maps are made by protoc, and not counted."""
    return [one for one in messages if not one.options.map_entry]


@lru_cache(maxsize=256)
def protobuf_schema_of(text: str, references: Sequence[tuple[str, str]] = ()) -> ProtobufSchema:
    """The schema of a text.

    Args:
        text: a .proto, or a FileDescriptorProto in base64, as some clients register it.
        references: name, as it is imported by, and text of each schema that it refers to.

    Raises:
        BadSchema: it cannot be read.
    """
    given = [(name, _descriptor(other)) for name, other in references] + [(MAIN, _descriptor(text))]
    if all(made is not None for _, made in given):
        for name, made in given[:-1]:
            made.name = name
        return ProtobufSchema([*_known(made for _, made in given), *(made for _, made in given)])
    if any(made is not None for _, made in given):
        raise BadSchema("its schema is a text, and it refers to descriptors, or the reverse; register one kind")
    return ProtobufSchema(_compiled({**dict(references), MAIN: text}))


def _descriptor(text: str) -> Any:
    """What base64 of a descriptor holds; None for a text."""
    try:
        data = base64.b64decode(text, validate=True)
        made = descriptor_pb2.FileDescriptorProto.FromString(data)
    except (binascii.Error, ValueError, TypeError):
        return None
    except Exception:  # DecodeError is no ValueError in every version.
        return None
    return made if made.name else None


def _known(files: Any) -> list[Any]:
    """The files of Google's that others import."""
    from google.protobuf import any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2

    modules = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
    there = {module.DESCRIPTOR.name: module.DESCRIPTOR for module in modules}
    wanted = {name for file in files for name in file.dependency if name in there}
    return [descriptor_pb2.FileDescriptorProto.FromString(there[name].serialized_pb) for name in sorted(wanted)]


def _compiled(texts: dict[str, str]) -> list[Any]:
    """Descriptors of .proto files, by protoc."""
    try:
        import grpc_tools
    except ImportError:
        raise BadSchema("to read a .proto takes protoc: pip install 'beamsplit[registry]'") from None
    google = os.path.join(os.path.dirname(grpc_tools.__file__), "_proto")
    with tempfile.TemporaryDirectory(prefix="beamsplit-proto-") as folder:
        for name, text in texts.items():
            path = Path(folder, name)
            if not path.resolve().is_relative_to(Path(folder).resolve()):
                raise BadSchema(f"it refers to {name}, which is no name of a file")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        made = Path(folder, "made.bin")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}", f"-I{google}", "--include_imports"]
        try:
            done = subprocess.run(
                [*command, f"--descriptor_set_out={made}", MAIN],
                cwd=folder, capture_output=True, text=True, errors="replace", timeout=COMPILE_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BadSchema(f"protoc did not read its schema within {COMPILE_SECONDS} s") from error
        if done.returncode:
            lines = [one for one in done.stderr.splitlines() if "warning" not in one.lower()]
            raise BadSchema(f"its schema cannot be read: {_one_line(' '.join(lines))}")
        return list(descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace(f"{MAIN}:", "")[:300]
