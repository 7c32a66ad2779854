"""A disk that is full refuses the next byte, and has room again when it is freed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own, because its mounts are its own from then on.
PROGRAM = """
import errno, os, sys
from pathlib import Path
from tests.faults.disks import NoSmallDisks, SmallDisk, separate
try:
    separate()
except NoSmallDisks as why:
    sys.exit(f"not permitted: {why}")
folder = Path(sys.argv[1])
with SmallDisk(folder, 4) as disk:
    (folder / "before").write_bytes(b"kept")
    disk.fill()
    try:
        (folder / "meanwhile").write_bytes(b"x" * 10_000)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise AssertionError("there was room")
    disk.free()
    (folder / "after").write_bytes(b"x" * 1_000_000)
    assert os.statvfs(folder).f_blocks * os.statvfs(folder).f_frsize == 4 << 20
"""


def test_a_small_disk_is_filled_and_freed_and_its_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir(mode=0o700)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    if "not permitted" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert (folder / "before").read_bytes() == b"kept"
    assert (folder / "after").stat().st_size == 1_000_000
    assert not (folder / "ballast").exists()
    assert folder.stat().st_mode & 0o777 == 0o700
