"""Memory that is free, of a machine and in containers, from files such as Linux has."""

from __future__ import annotations

import math
from pathlib import Path

from beamsplit.models.free_memory import free_memory

MB = 1 << 20


def system(folder: Path, **files: object) -> str:
    """A folder with these files; `__` in a name stands for `/`, `DOT` for a dot."""
    for name, text in {"proc__meminfo": "MemTotal: 9000 kB\nMemAvailable: 102400 kB\n", **files}.items():
        path = folder / name.replace("__", "/").replace("DOT", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))
    return str(folder)


def group(folder: str, limit: object, used: int, stat: str, second: bool = True) -> dict[str, object]:
    names = ("max", "current") if second else ("limit_in_bytes", "usage_in_bytes")
    return {
        f"sys__fs__cgroup__{folder}memoryDOT{names[0]}": limit,
        f"sys__fs__cgroup__{folder}memoryDOT{names[1]}": used,
        f"sys__fs__cgroup__{folder}memoryDOTstat": stat,
    }


def test_of_a_machine(tmp_path: Path):
    assert free_memory(system(tmp_path)) == 100 * MB


def test_where_the_system_does_not_tell(tmp_path: Path):
    assert math.isinf(free_memory(str(tmp_path)))


def test_a_container_of_its_own_namespace(tmp_path: Path):
    files = group("", 50 * MB, 30 * MB, f"anon 1\ninactive_file {4 * MB}\nactive_file {MB}\n")
    root = system(tmp_path, proc__self__cgroup="0::/\n", **files)
    assert free_memory(root) == 25 * MB


def test_the_tightest_group_around_counts(tmp_path: Path):
    inner = group("pod__box__", "max", 10 * MB, "")
    outer = group("pod__", 60 * MB, 20 * MB, "")
    root = system(tmp_path, proc__self__cgroup="0::/pod/box\n", **inner, **outer)
    assert free_memory(root) == 40 * MB


def test_the_first_version(tmp_path: Path):
    files = group("memory__box__", 50 * MB, 45 * MB, f"inactive_file 7\ntotal_inactive_file {MB}\n", second=False)
    root = system(tmp_path, proc__self__cgroup="4:memory:/box\n3:cpu:/\n0::/\n", **files)
    assert free_memory(root) == 6 * MB
    unlimited = group("memory__box__", 9223372036854771712, 45 * MB, "", second=False)
    assert free_memory(system(tmp_path, **unlimited)) == 100 * MB


def test_here():
    assert free_memory() > 1 << 20
