"""The programs under test: started on their processors, ready when they answer, always ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from flashorder.kernel.errors import FlashorderError

LAUNCHER = Path(__file__).with_name("launch.py")
PROJECT = Path(__file__).parents[1]
READY_TIMEOUT_SECONDS = 60.0
STOP_TIMEOUT_SECONDS = 15.0
POLL_SECONDS = 0.02
HOST = "127.0.0.1"


class ProgramFailed(FlashorderError):
    """A program of the bench did not start, or ended badly."""

    default_code = "program_failed"


@dataclass(frozen=True, slots=True)
class Program:
    """A running program. ``port`` is where it answers HTTP, 0 where it does not."""

    name: str
    process: asyncio.subprocess.Process
    port: int
    log: Path

    @property
    def pid(self) -> int:
        """Its process id: the launcher becomes the program."""
        return self.process.pid

    def last_words(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text(errors="replace")[-2000:]


@asynccontextmanager
async def running(
    name: str,
    argv: Sequence[str],
    *,
    cores: Sequence[int],
    folder: Path,
    environment: Mapping[str, str] | None = None,
    port: int = 0,
    ready_path: str = "",
) -> AsyncIterator[Program]:
    """Run ``argv`` until the context ends; with a ``port``, begins once it answers there.

    ``ready_path`` is asked for with GET until it says 200; empty: a connection is enough.
    """
    log = folder / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *launched(argv, cores),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            cwd=PROJECT,
            env={**clean_environment(), **(environment or {})},
            start_new_session=True,
        )
    program = Program(name, process, port, log)
    try:
        if port:
            await _until_ready(program, ready_path)
        yield program
    finally:
        await stop(process)


def launched(argv: Sequence[str], cores: Sequence[int]) -> tuple[str, ...]:
    """The command line that runs ``argv`` on ``cores``, and ends it with this process."""
    listed = ",".join(map(str, cores))
    return sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), listed, *argv


def clean_environment() -> dict[str, str]:
    """Ours, without settings of a flashorder that runs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if "FLASHORDER" not in name}
    return kept | {"PYTHONPATH": str(PROJECT)}


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask it to end, insist when the time is over."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_SECONDS)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def run_to_end(argv: Sequence[str], *, cores: Sequence[int], timeout_seconds: float) -> str:
    """Standard output of a program that ends by itself; ``ProgramFailed`` with its last words."""
    process = await asyncio.create_subprocess_exec(
        *launched(argv, cores),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=PROJECT,
        env=clean_environment(),
    )
    try:
        async with asyncio.timeout(timeout_seconds):
            out, error = await process.communicate()
    except TimeoutError:
        raise ProgramFailed(f"{argv[0]} did not end within {timeout_seconds:g} s") from None
    finally:
        await stop(process)
    if process.returncode != 0:
        words = (error or out).decode(errors="replace")[-2000:]
        raise ProgramFailed(f"{argv[0]} ended with exit code {process.returncode}:\n{words}")
    return out.decode()


async def get_status(port: int, path: str) -> int:
    """The status of GET ``path``, 0 where nothing answers."""
    try:
        reader, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return 0
    try:
        if not path:
            return 200
        writer.write(f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except (OSError, ValueError, IndexError):
        return 0
    finally:
        writer.close()


async def _until_ready(program: Program, path: str) -> None:
    try:
        async with asyncio.timeout(READY_TIMEOUT_SECONDS):
            while await get_status(program.port, path) != 200:
                if program.process.returncode is not None:
                    raise ProgramFailed(f"{program.name} ended:\n{program.last_words()}")
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise ProgramFailed(f"{program.name} does not answer:\n{program.last_words()}") from None
