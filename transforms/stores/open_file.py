"""Files of a store, open: what goes wrong is told by name, and what is left by an error never becomes a file."""

from __future__ import annotations

import contextlib
import io
from typing import Any

from beamsplit.transforms.stores.schemes import Scheme
from beamsplit.transforms.stores.store_errors import told

PART_BYTES = 32 << 20
"""Of one request where a file is written: of 10,000 such parts a file of S3 can be made, 320 GB."""


class Input(io.RawIOBase):
    """A file that is read."""

    def __init__(self, inner: Any, scheme: Scheme, path: str) -> None:
        super().__init__()
        self._inner, self._scheme, self._path = inner, scheme, path

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer only at the end."""
        with told(self._scheme, self._path, "read"):
            return bytes(self._inner.read(-1 if size is None else size))

    def readall(self) -> bytes:
        """The rest."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte."""
        return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        """The byte that is read next."""
        return int(self._inner.tell())

    def close(self) -> None:
        """Let go of it."""
        if not self.closed:
            self._inner.close()
        super().close()


class Output(io.RawIOBase):
    """A file that is written."""

    def __init__(self, fs: Any, key: str, scheme: Scheme, path: str) -> None:
        super().__init__()
        self._fs, self._key, self._scheme, self._path = fs, key, scheme, path
        self._bytes = 0
        self._inner = fs.open(key, "wb", block_size=PART_BYTES)

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Add bytes; what is behind an abort goes nowhere."""
        size = memoryview(data).nbytes
        if self._inner is not None:
            with told(self._scheme, self._path, "written"):
                self._inner.write(data)
        self._bytes += size
        return size

    def tell(self) -> int:
        """Bytes written so far."""
        return self._bytes

    def close(self) -> None:
        """Make it a file.

        Raises:
            StoreError: it is none.
        """
        if self.closed:
            return
        inner, self._inner = self._inner, None
        super().close()
        if inner is None:
            return
        try:
            with told(self._scheme, self._path, "written"):
                self._complete(inner)
        except BaseException:
            _discard(inner)
            raise

    def _complete(self, inner: Any) -> None:
        try:
            inner.close()
        except FileNotFoundError:
            # An answer that got lost: the request was made again, of an upload that is complete by now.
            try:
                found = self._fs.info(self._key)
            except FileNotFoundError:
                found = {}
            if found.get("size") != self._bytes:
                raise

    def abort(self) -> None:
        """Make it no file."""
        inner, self._inner = self._inner, None
        if inner is not None:
            _discard(inner)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.abort()
        self.close()

    def __del__(self) -> None:
        self.abort()


def _discard(inner: Any) -> None:
    # What could not be written is told already; what it leaves is removed by the next job, or costs little.
    with contextlib.suppress(Exception):
        inner.discard()
    inner.closed = True
