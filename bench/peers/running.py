"""The peers as running programs; one whose runtime is missing is left out with a word."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench.context import Context
from bench.peers.script import SOURCE
from bench.processes import Program, ProgramFailed, run_to_end, running
from bench.stand import PeerStore
from flashorder.infra.embedded.ports import free_port

HERE = Path(__file__).parent
PATH = "/orders"
AIOHTTP = "aiohttp + redis-py"
FASTAPI = "FastAPI + uvicorn"
NODE = "Node fastify + ioredis"
GO = "Go net/http + redigo"
BUILD_TIMEOUT_SECONDS = 300.0
# Debian keeps Go libraries here, in the layout from before modules.
DEBIAN_GOPATH = "/usr/share/gocode"
HAS_REDIGO = Path(DEBIAN_GOPATH, "src/github.com/gomodule/redigo").is_dir()


class LeftOut(Exception):
    """Why a peer cannot be run here, and what to install."""


Prepare = Callable[[Context], Awaitable[Sequence[str]]]


async def _with_aiohttp(context: Context) -> Sequence[str]:
    return [context.python, "-m", "bench.peers.with_aiohttp"]


async def _with_fastapi(context: Context) -> Sequence[str]:
    if find_spec("fastapi") is None or find_spec("uvicorn") is None:
        raise LeftOut("fastapi and uvicorn are missing: `make bench` or `pip install -e .[bench]`")
    return [context.python, "-m", "bench.peers.with_fastapi"]


async def _with_node(context: Context) -> Sequence[str]:
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None:
        raise LeftOut("node is missing: `apt install nodejs npm`")
    folder = HERE / "node"
    if not (folder / "node_modules" / "ioredis").is_dir():
        if npm is None:
            raise LeftOut("npm is missing: `apt install npm`")
        await _built("npm ci", [npm, "--prefix", str(folder), "ci", "--no-audit", "--no-fund"])
    return [node, str(folder / "server.js")]


async def _with_go(context: Context) -> Sequence[str]:
    go = shutil.which("go")
    if go is None or not HAS_REDIGO:
        raise LeftOut(
            "Go or redigo is missing: `apt install golang-go golang-github-gomodule-redigo-dev`"
        )
    program = context.folder / "go-peer"
    cache = os.environ.get("GOCACHE", str(context.folder / "go-cache"))
    environment = ("GO111MODULE=off", f"GOPATH={DEBIAN_GOPATH}", f"GOCACHE={cache}")
    source = str(HERE / "go" / "main.go")
    await _built("go build", ["env", *environment, go, "build", "-o", str(program), source])
    return [str(program)]


async def _built(name: str, argv: Sequence[str]) -> None:
    try:
        cores = sorted(os.sched_getaffinity(0))
        await run_to_end(argv, cores=cores, timeout_seconds=BUILD_TIMEOUT_SECONDS)
    except ProgramFailed as error:
        raise LeftOut(f"`{name}` failed: {error.detail[-300:]}") from error


PEERS: dict[str, Prepare] = {
    AIOHTTP: _with_aiohttp,
    FASTAPI: _with_fastapi,
    NODE: _with_node,
    GO: _with_go,
}


@dataclass(frozen=True, slots=True)
class Peers:
    """Those that run, by name, and a line for each that does not."""

    programs: dict[str, Program]
    left_out: list[str]


@asynccontextmanager
async def running_peers(
    context: Context, store: PeerStore, names: Sequence[str] = tuple(PEERS)
) -> AsyncIterator[Peers]:
    """Every peer that can be run here, each with a port of its own."""
    async with AsyncExitStack() as stack:
        peers = Peers({}, [])
        for name in names:
            try:
                argv = await PEERS[name](context)
                program = await stack.enter_async_context(_running(context, store, name, argv))
            except (LeftOut, ProgramFailed) as error:
                peers.left_out.append(f"{name} is left out: {error}")
                context.say(peers.left_out[-1])
            else:
                peers.programs[name] = program
        yield peers


@asynccontextmanager
async def _running(
    context: Context, store: PeerStore, name: str, argv: Sequence[str]
) -> AsyncIterator[Program]:
    port = free_port()
    async with running(
        name.replace("/", "-"),
        argv,
        cores=context.cores.server,
        folder=context.folder,
        environment={
            "PORT": str(port),
            "STORE_URL": store.store.socket_url,
            "STORE_SOCKET": store.socket_path,
            "STORE_PASSWORD": store.password,
            "SCRIPT": str(SOURCE),
        },
        port=port,
    ) as program:
        yield program


def peer_buyers(folder: Path, count: int) -> Path:
    """A file of X-Buyer lines: who buys, without any proof of it."""
    path = folder / "peer-buyers.txt"
    with path.open("w", encoding="ascii") as file:
        for _ in range(count):
            file.write(f"X-Buyer: {uuid.uuid4()}\n")
    return path
