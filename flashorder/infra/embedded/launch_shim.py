"""Become a server process. Run as a file by ``process.py``; never imported by the service.

Three things must happen in the child between fork and exec, and each is a system call that
the standard library of Python 3.11 does not wrap: leave root behind (PostgreSQL refuses it),
ask the kernel for a signal when the parent dies, and write the pid file. A tiny program that
then execs the server does them without unshare(1) or setpriv(1), which slim images lack, and
keeps one pid from fork to server. A ``preexec_fn`` would run Python in a forked, threaded parent.

Usage: ``python -I -S launch_shim.py JSON`` with an object of
    run_as:        "self" | "namespace" | "nobody"
    argv:          the server's command line, argv[0] an absolute path
    folder:        working directory, an absolute path
    pid_file:      absolute path or null
    death_signal:  number of the signal sent to the server when the parent ends
    parent_pid:    who that parent is
    probe:         true: only tell by the exit code whether ``run_as`` works for these paths
"""

import ctypes
import json
import os
import pwd
import sys
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1

EXIT_IDENTITY_REFUSED = 71
EXIT_PARENT_GONE = 72


def system_call(name: str, *arguments: Any) -> None:
    """Call libc's ``name``; a negative return becomes an OSError with its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def enter_user_namespace(uid: int, gid: int) -> None:
    """Be ``uid`` in a user namespace of our own: files stay our files, root stays outside."""
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    system_call("unshare", CLONE_NEWUSER)
    # The kernel takes an unprivileged gid_map only after setgroups was given up.
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {outer_uid} 1"),
        ("gid_map", f"{gid} {outer_gid} 1"),
    ):
        Path("/proc/self", name).write_text(line)


def become_nobody(uid: int, gid: int, paths: list[str]) -> None:
    """Be ``uid`` for good; where it could not reach ``paths``, keep CAP_DAC_OVERRIDE alone.

    A checkout below /root (mode 0700) is closed to nobody. The one ambient capability opens the
    way without copying the server elsewhere or widening the mode of any folder.
    """
    os.setgroups([])
    system_call("prctl", PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if not reaches(paths):
        keep_access_to_all_paths()


def keep_access_to_all_paths() -> None:
    """Carry CAP_DAC_OVERRIDE, and nothing else, over the coming exec."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    bit = 1 << CAP_DAC_OVERRIDE
    # Two 32-bit halves of effective, permitted, inheritable.
    system_call("capset", header, (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0))
    system_call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def reaches(paths: list[str]) -> bool:
    """Whether the real user, without any capability, may enter or execute every path."""
    return all(os.access(path, os.X_OK) for path in paths)


def unprivileged_user() -> tuple[int, int]:
    """(uid, gid) of nobody; initdb wants a user that the machine's passwd knows."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return 65534, 65534
    return entry.pw_uid, entry.pw_gid


def take_identity(run_as: str, paths: list[str]) -> None:
    """Leave root behind in the way asked for; OSError where the machine does not permit it."""
    if run_as == "namespace":
        enter_user_namespace(*unprivileged_user())
        if not reaches(paths):
            raise PermissionError(f"not within reach in a user namespace: {paths}")
    elif run_as == "nobody":
        become_nobody(*unprivileged_user(), paths)


def main() -> None:
    """Read the plan from argv[1] and become the server; never returns."""
    plan = json.loads(sys.argv[1])
    argv: list[str] = plan["argv"]
    if plan["pid_file"]:
        Path(plan["pid_file"]).write_text(f"{os.getpid()}\n")
    try:
        take_identity(plan["run_as"], [argv[0], plan["folder"]])
    except OSError as error:
        sys.stderr.write(f"cannot run as {plan['run_as']}: {error}\n")
        sys.exit(EXIT_IDENTITY_REFUSED)
    if plan["probe"]:
        sys.exit(0)
    os.chdir(plan["folder"])
    # The kernel forgets the death signal at every change of identity: so it comes last.
    if sys.platform == "linux":
        system_call("prctl", PR_SET_PDEATHSIG, plan["death_signal"], 0, 0, 0)
    if os.getppid() != plan["parent_pid"]:
        sys.exit(EXIT_PARENT_GONE)
    os.execv(argv[0], argv)  # noqa: S606 - no shell is what is wanted


if __name__ == "__main__":
    main()
