"""A process that has imported everything and runs verbs in forks of itself, each killed at a system call.

One JSON request a line on stdin, one answer a line on stdout. What `strace -f -e inject=write:signal=KILL:when=N` does,
with two differences: calls are counted over all threads of the verb (strace counts for each thread alone, so a call of
one thread that another has made more often before cannot be hit), and only those that change files below a directory,
or that send into sockets. Linux on x86-64 and aarch64; ptrace(2) has what the numbers mean.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import signal
import struct
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

_CALLS = {
    "x86_64": {
        "write": 1, "pwrite64": 18, "writev": 20, "pwritev": 296, "ftruncate": 77, "fallocate": 285, "fsync": 74,
        "fdatasync": 75, "sync_file_range": 277, "rename": 82, "renameat": 264, "renameat2": 316, "link": 86,
        "linkat": 265, "unlink": 87, "unlinkat": 263, "mkdir": 83, "mkdirat": 258, "rmdir": 84, "open": 2,
        "openat": 257, "flock": 73, "utimensat": 280, "sendto": 44, "sendmsg": 46,
    },
    "aarch64": {
        "write": 64, "pwrite64": 68, "writev": 66, "pwritev": 70, "ftruncate": 46, "fallocate": 47, "fsync": 82,
        "fdatasync": 83, "sync_file_range": 84, "renameat": 38, "renameat2": 276, "linkat": 37, "unlinkat": 35,
        "mkdirat": 34, "openat": 56, "flock": 32, "utimensat": 88, "sendto": 206, "sendmsg": 211,
    },
}  # fmt: skip
_NAMES = {number: name for name, number in _CALLS.get(platform.machine(), {}).items()}
_BY_PATH = {"rename", "link", "unlink", "mkdir", "rmdir", "open"}
_BY_FOLDER = {"renameat", "renameat2", "linkat", "unlinkat", "mkdirat", "openat", "utimensat"}
_SENDS = {"sendto", "sendmsg", "write", "writev"}
_MAKES = os.O_CREAT | os.O_TRUNC
_AT_FDCWD = -100

_TRACEME, _SYSCALL, _SETOPTIONS, _GET_SYSCALL_INFO, _POKEUSER = 0, 24, 0x4200, 0x420E, 6
# Stops are told apart, threads and children are followed, and nothing outlives us.
_OPTIONS = 0x1 | 0x2 | 0x4 | 0x8 | 0x10_0000
_WALL = 0x4000_0000
_LENGTH_REGISTER = 96  # rdx in `struct user` of x86-64
_INFO = struct.Struct("<B3xI QQ Q6Q 8x")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_libc.ptrace.restype = ctypes.c_long


class Call(NamedTuple):
    """One call that changes something."""

    name: str
    what: str


def _ptrace(request: int, tid: int, address: int = 0, data: object = 0) -> int:
    result = _libc.ptrace(request, tid, address, data)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)


class Tracer:
    """Runs one traced process to its end, or to the call where it is to be killed.

    Args:
        pid: stopped, and asking to be traced.
        root: calls that change files below it count.
        kill_at: the number of the call before which it is killed; 0 never.
        torn: if that call writes several bytes, half of them are written first (x86-64).
        sends: count what is sent into sockets, and nothing else.
    """

    def __init__(self, pid: int, root: str, kill_at: int, *, torn: bool, sends: bool) -> None:
        self.calls: list[Call] = []
        self._pid = pid
        self._root = root
        self._kill_at = kill_at
        self._torn = torn and platform.machine() == "x86_64"
        self._sends = sends
        self._tearing = 0

    def run(self) -> int:
        """The status of the process as `waitpid` gives it."""
        os.waitpid(self._pid, _WALL)
        _ptrace(_SETOPTIONS, self._pid, 0, _OPTIONS)
        _ptrace(_SYSCALL, self._pid)
        known, ended = {self._pid}, None
        while True:
            try:
                tid, status = os.waitpid(-1, _WALL)
            except ChildProcessError:
                assert ended is not None
                return ended
            if os.WIFEXITED(status) or os.WIFSIGNALED(status):
                ended = status if tid == self._pid else ended
                continue
            send = 0
            stop = os.WSTOPSIG(status)
            if stop == signal.SIGTRAP | 0x80:
                self._stopped(tid)
            elif status >> 16 == 0 and tid in known and stop != signal.SIGTRAP:
                send = stop
            known.add(tid)
            with contextlib.suppress(ProcessLookupError):  # killed meanwhile
                _ptrace(_SYSCALL, tid, 0, send)

    def _stopped(self, tid: int) -> None:
        info = ctypes.create_string_buffer(_INFO.size)
        try:
            _ptrace(_GET_SYSCALL_INFO, tid, _INFO.size, ctypes.addressof(info))
        except ProcessLookupError:
            return
        operation, _, _, _, number, *arguments = _INFO.unpack(info.raw)
        if operation == 2 and tid == self._tearing:
            os.kill(self._pid, signal.SIGKILL)
        if operation != 1 or number not in _NAMES:
            return
        what = self._touched(tid, _NAMES[number], arguments)
        if what is None:
            return
        self.calls.append(Call(_NAMES[number], what))
        if len(self.calls) != self._kill_at:
            return
        if self._torn and _NAMES[number] in {"write", "pwrite64"} and arguments[2] > 1:
            _ptrace(_POKEUSER, tid, _LENGTH_REGISTER, arguments[2] // 2)
            self._tearing = tid
        else:
            os.kill(self._pid, signal.SIGKILL)

    def _touched(self, tid: int, name: str, arguments: list[int]) -> str | None:
        """The path, below the root, that a call changes; None when it is not of interest."""
        try:
            if self._sends:
                what = self._descriptor(tid, arguments[0]) if name in _SENDS else ""
                return what if what.startswith("socket:") else None
            if name in _BY_PATH:
                makes = name != "open" or arguments[1] & _MAKES
                what = self._path(tid, _AT_FDCWD, arguments[0])
            elif name in _BY_FOLDER:
                makes = name != "openat" or arguments[2] & _MAKES
                what = self._path(tid, ctypes.c_int(arguments[0] & 0xFFFF_FFFF).value, arguments[1])
            else:
                makes, what = True, self._descriptor(tid, arguments[0])
        except OSError:
            return None
        if not makes or not what.startswith(self._root) or (name.startswith("mkdir") and Path(what).exists()):
            return None
        return what[len(self._root) :]

    @staticmethod
    def _descriptor(tid: int, number: int) -> str:
        return str(Path(f"/proc/{tid}/fd/{number & 0xFFFF_FFFF}").readlink())

    def _path(self, tid: int, folder: int, address: int) -> str:
        with Path(f"/proc/{tid}/mem").open("rb", buffering=0) as memory:
            memory.seek(address)
            path = os.fsdecode(memory.read(1024).partition(b"\0")[0])
        if path.startswith("/"):
            return path
        start = Path(f"/proc/{tid}/cwd").readlink() if folder == _AT_FDCWD else self._descriptor(tid, folder)
        return f"{start}/{path}"


def _run_verb(words: list[str]) -> int:
    if words[0] != "remember":
        from deploy.cli import main

        return main(words)
    from edge_node.model_store import ModelStore, Remembered

    store = ModelStore(Path(words[1])).open()
    served = store.recall().served.get("chat", ())
    store.remember(Remembered(served={"chat": (words[2], *served)}))
    return 0


def _become(request: dict[str, object]) -> None:
    """In the fork: run the verb, and end."""
    code = 70
    try:
        output = os.open(str(request["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(str(request["directory"]))
        os.environ.update(request["environment"])
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        code = _run_verb(list(request["words"]))
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001  # whatever it is, it must not get back into the server's loop
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _warm_up() -> None:
    """Import what the verbs import, and let a small release have several packs."""
    for verb in ("gc", "keys", "mirror", "publish", "pull", "verify", "yank"):
        import_module(f"deploy.cli.{verb}")
    parts = (
        "delta",
        "mirror",
        "plane_coding",
        "publish",
        "store.directory",
        "store.s3",
        "sweep",
        "trust.signed_store",
    )
    for part in parts:
        import_module(f"registry.{part}")
    import_module("edge_node.model_store")
    import_module("registry.packing").PACK_LIMIT_BYTES = 96 * 1024


def main() -> None:
    """Answer requests until stdin ends."""
    _warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(request)
        tracer = Tracer(
            pid, request["root"], request["kill_at"], torn=request["torn"], sends=request.get("sends", False)
        )
        status = tracer.run()
        killed = os.WIFSIGNALED(status)
        answer = {
            "killed": killed,
            "code": os.WTERMSIG(status) if killed else os.WEXITSTATUS(status),
            "calls": tracer.calls,
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
