"""The zygote: forks a worker for each command, reaps it, and reports its end.

The zygote is a process with one thread that has the modules which workers need already loaded, so a
worker costs one ``fork``. It is the parent of all workers and the *subreaper* of their descendants:
a process that outlives its worker becomes a child of the zygote and not of init.

What it guarantees:

* It forks other zygotes in the same way (`importing`), and is their parent as well.
* A command that fails (no descriptor left, fork refused) is answered with the reason, and does not
  affect others.
* It kills the process group of a dead worker before it reaps the worker. Afterwards another process
  may get the number.
* On another machine than its supervisor it ends at its `deadline` as well.
* It ends when its control socket closes, and kills all descendants. The kernel closes the socket
  when the supervisor dies. A process that the supervisor's program has forked may hold the socket
  open, so the zygote watches the supervisor's pidfd as well. If the zygote itself is killed, the
  kernel kills its workers: each has armed a death signal.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Callable, Sequence
from typing import NoReturn

from procorch.launch.forkserver import protocol
from procorch.launch.forkserver.deadline import Deadline
from procorch.worker import stdio
from procorch.worker.limits import adopt_orphans, set_death_signal

ENDING = (signal.SIGTERM, signal.SIGHUP)


def main(control_fd: int, preload: list[str], sys_path: list[str], supervisor: int) -> None:
    """Serve until the control socket closes or the supervisor ends.

    Args:
        control_fd: a connected SOCK_SEQPACKET socket.
        preload: modules to import before the first fork.
        sys_path: its ``sys.path``.
        supervisor: pid of the process that made this one.
    """
    # It watches nothing while it loads modules, so the kernel has to end it.
    set_death_signal(signal.SIGKILL)
    try:
        supervisor_fd = os.pidfd_open(supervisor)
    except ProcessLookupError:
        return
    if os.getppid() != supervisor:  # it has died, and another process has its number
        return
    if os.getsid(0) != os.getpid():  # not after an exec (`preloading`)
        os.setsid()
    for signum in (signal.SIGINT, *ENDING):
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    adopt_orphans()
    control_fd = stdio.above_standard(control_fd)
    stdio.close_input()
    control = socket.socket(fileno=control_fd)
    os.set_inheritable(control_fd, False)
    # Imported here, before the first fork, and not at the top of this module, which the parent
    # imports for the messages.
    gc.disable()
    importlib.import_module("procorch.worker.main")
    gc.enable()
    from procorch.agents import import_path
    from procorch.launch.forkserver import preloading

    import_path.use(sys_path)

    again = preloading.load(preload, lambda name, why: _warn(control, name, why))
    if again is not None:
        preloading.begin_again(control_fd, again, sys_path, supervisor)
    from procorch.worker import process_title

    process_title.show(b"procorch-zygote", f"procorch: zygote of process {supervisor}")
    gc.collect()
    gc.freeze()  # a collection in a worker then does not copy the shared pages
    # From here on the loop detects the supervisor's death and ends all descendants. The signal
    # continues a zygote that was stopped.
    set_death_signal(signal.SIGCONT)
    with control:
        ForkServer(control, supervisor_fd).serve()
    _leave(0)  # the supervisor may wait, and a normal exit takes ten times as long


def _warn(control: socket.socket, module: str, why: str) -> None:
    with contextlib.suppress(OSError):  # the socket is closed; the loop detects that
        control.send(protocol.encode(protocol.Warned(module, why)))


class ForkServer:
    """The zygote's loop.

    Args:
        control: the socket to the supervisor.
        supervisor_fd: the supervisor's pidfd.
        branch: its workers keep the exit handlers that the modules here have registered.
    """

    def __init__(self, control: socket.socket, supervisor_fd: int, *, branch: bool = False) -> None:
        self._control = control
        self._supervisor = supervisor_fd
        self._branch = branch
        self._workers: dict[int, int] = {}
        self._pid = os.getpid()
        self._deadline = Deadline()
        self._until: float | None = None
        self._woken, self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # Kept open: reaping must work without a free descriptor.
        self._below = os.open(f"/proc/self/task/{self._pid}/children", os.O_RDONLY | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork and reap until the supervisor ends; then kill all descendants."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        poll.register(self._supervisor, select.POLLIN)
        try:
            while True:
                ready = {fd for fd, _ in poll.poll(self._deadline.timeout)}
                if self._supervisor in ready:
                    break
                if self._woken in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._woken, protocol.MESSAGE)
                    self._reap()
                if self._control.fileno() in ready and not self._take_command():
                    break
                self._put_off()
                if self._deadline.is_over:
                    break
        except OSError:
            pass  # The control socket is broken, which means the same as its end of file.
        self._end_descendants()

    def _put_off(self) -> None:
        """Set the deadline that was received last. After a long start several messages wait, the
        first of which may be in the past: they are all taken before."""
        if self._until is not None and not select.select([self._control], [], [], 0)[0]:
            self._deadline.set(self._until)
            self._send(protocol.Renewed(self._until))
            self._until = None

    def _take_command(self) -> bool:
        room = socket.CMSG_SPACE(4 * protocol.PASSED)
        data, ancillary, _, _ = self._control.recvmsg(protocol.MESSAGE, room)
        descriptors = array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(payload[: len(payload) // 4 * 4])
        if not data:
            return False
        command = protocol.decode_command.decode(data)
        if isinstance(command, protocol.Renew):
            self._until = command.until
            return True
        try:
            if len(descriptors) != protocol.PASSED:
                raise OSError("no descriptors left in the zygote")
            is_branch = isinstance(command, protocol.Branch)
            become = self._become_branch if is_branch else self._become_worker
            self._fork(command.worker, descriptors, become)
        except OSError as error:
            self._send(protocol.Refused(command.worker, str(error)))
        finally:
            for fd in descriptors:
                os.close(fd)
        return True

    def _send(self, report: protocol.Report) -> None:
        self._control.send(protocol.encode(report))

    def _fork(
        self, worker: int, descriptors: Sequence[int], become: Callable[..., NoReturn]
    ) -> None:
        # A worker may get SIGTERM right after the fork. A signal that is ignored would be lost; one
        # that is blocked waits until the worker has its own signal handling.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        pid = os.fork()
        if pid == 0:
            become(*descriptors)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        # A worker that dies at once stays a zombie until `_reap`, so its pid is valid here.
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        self._workers[pid] = worker
        try:
            report = protocol.encode(protocol.Forked(worker, pid))
            socket.send_fds(self._control, [report], [pidfd])
        finally:
            os.close(pidfd)

    def _undo(self) -> None:
        """In the child: give up what belongs to this zygote alone."""
        signal.set_wakeup_fd(-1)
        self._control.close()
        for fd in (self._woken, self._wake, self._below):
            os.close(fd)

    def _become_branch(self, control: int, memory: int, out: int, err: int) -> NoReturn:
        """In the child: become the zygote of some modules."""
        self._undo()
        try:
            from procorch.launch.forkserver import importing

            importing.main(
                control, memory, out, err, self._pid,
                lambda ours: ForkServer(ours, self._supervisor, branch=True).serve(),
            )  # fmt: skip
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _become_worker(self, sock: int, page: int, out: int, err: int) -> NoReturn:
        """In the child: undo the zygote's own set-up, and run the worker."""
        self._undo()
        for signum in (signal.SIGCHLD, *ENDING):
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
        os.close(self._supervisor)
        if not self._branch:
            atexit._clear()
        gc.unfreeze()
        code = 1
        from procorch.worker.fork_guard import exit_code

        try:
            from procorch.worker.main import main as work

            work(sock, page, out, err, self._pid)
            code = 0
        except SystemExit as leaving:
            code = exit_code(leaving)
        except BaseException:
            traceback.print_exc()
        finally:
            _leave(code)

    def _reap(self) -> None:
        while (pid := _zombie()) is not None:
            worker = self._workers.pop(pid, None)
            if worker is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
            if worker is not None:  # before the strays, because a caller waits for it
                code, peak = os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024
                self._send(protocol.Ended(worker, code, peak))
            # Workers adopt their own orphans. So another child of the zygote is a descendant of a
            # dead worker that has left its process group: it is killed as well.
            for stray in self._children():
                if stray not in self._workers:
                    os.kill(stray, signal.SIGKILL)

    def _end_descendants(self) -> None:
        """Kill all descendants, level by level: orphans of each level become children here."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # to wait for it
        until = time.monotonic() + protocol.LAST_WAIT
        while (below := self._children()) and time.monotonic() < until:
            for pid in below:
                os.kill(pid, signal.SIGKILL)  # a child that is not reaped keeps its number
            while (ended := _zombie()) is not None:
                os.waitpid(ended, 0)
            signal.sigtimedwait([signal.SIGCHLD], 0.05)

    def _children(self) -> list[int]:
        os.lseek(self._below, 0, os.SEEK_SET)
        listed = b"".join(iter(lambda: os.read(self._below, protocol.MESSAGE), b""))
        return [int(pid) for pid in listed.split()]


def _leave(code: int) -> NoReturn:
    """End this process like an interpreter: join threads, run exit handlers, flush output."""
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
    finally:
        os._exit(code)


def _zombie() -> int | None:
    """The pid of a child that has ended and is not reaped; None: there is none."""
    try:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if ended is None else ended.si_pid
