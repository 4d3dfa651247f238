# Runs the processes of one cluster and ends them when its standard input closes.
#
# usage: python -I -S -u -c SCRIPT DIRECTORY GRACE
# Standard input: one JSON command a line. Standard output: one JSON event a line.
# Closing standard input (also by the death of the process that holds it) stops every
# child with all of its process group, removes DIRECTORY and exits.
# Runs on CPython 3.6 and later, with nothing but the standard library.
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

DIRECTORY = sys.argv[1]
GRACE = float(sys.argv[2])
POSIX = os.name == "posix"
children = {}
state_lock = threading.Lock()
write_lock = threading.Lock()


def report(**event):
    data = (json.dumps(event) + "\n").encode("utf-8")
    with write_lock:
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except (OSError, ValueError):
            pass  # nobody listens any more: standard input is about to close as well


class Child:
    def __init__(self, ident, proc, last):
        self.ident = ident
        self.proc = proc
        self.last = last
        self.done = False

    def send(self, name, group):
        # The caller holds state_lock: a child that is not done has not been reaped, so
        # its number (that of its group too) cannot belong to anything else.
        if self.done:
            return
        if not POSIX:
            if name in ("KILL", "TERM"):
                subprocess.call(
                    ["taskkill", "/T", "/F", "/PID", str(self.proc.pid)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return
        number = getattr(signal, "SIG" + name)
        try:
            if group:
                os.killpg(self.proc.pid, number)
            else:
                os.kill(self.proc.pid, number)
        except (ProcessLookupError, PermissionError):
            pass

    def watch(self):
        if hasattr(os, "waitid"):
            try:
                os.waitid(os.P_PID, self.proc.pid, os.WEXITED | os.WNOWAIT)
            except OSError:
                pass
            with state_lock:
                self.send("KILL", True)  # what the leader of the group left behind
                code = self.proc.wait()
                self.done = True
        else:
            code = self.proc.wait()
            with state_lock:
                self.send("KILL", True)
                self.done = True
        report(event="exited", id=self.ident, code=code)


def spawn(command):
    ident = command["id"]
    out = err = None
    try:
        out = open(command["out"], "ab")
        err = open(command["err"], "ab") if command.get("err") else out
        options = {"start_new_session": True} if POSIX else {
            "creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        proc = subprocess.Popen(
            command["argv"], env=command["env"], cwd=command["cwd"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, close_fds=True, **options)
    except Exception as error:
        report(event="failed", id=ident, message="%s: %s" % (type(error).__name__, error))
        return
    finally:
        for handle in (out, err):
            if handle is not None:
                handle.close()
    child = Child(ident, proc, command["last"])
    with state_lock:
        children[ident] = child
    report(event="started", id=ident, pid=proc.pid)
    watcher = threading.Thread(target=child.watch)
    watcher.daemon = True
    watcher.start()


def stands_still(child):
    # A signal is only on its way when kill returns.
    end = time.time() + 5.0
    while POSIX and hasattr(os, "waitid") and time.time() < end:
        with state_lock:
            if child.done:
                return
            try:
                if os.waitid(os.P_PID, child.proc.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT):
                    return
            except OSError:
                return
        time.sleep(0.002)


def running():
    return [child for child in children.values() if not child.done]


def wait(seconds, concerned=lambda child: True):
    end = time.time() + seconds
    while any(concerned(child) for child in running()) and time.time() < end:
        time.sleep(0.02)


def left_behind():
    # What the children started: nobody here hears of its end.
    groups = set(str(child.proc.pid) for child in children.values())
    try:
        numbers = [name for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return False
    for number in numbers:
        try:
            with open("/proc/%s/stat" % number, "rb") as stat:
                # pid (name) state ppid pgrp
                fields = stat.read().decode("utf-8", "replace").rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 2 and fields[2] in groups and fields[0] not in "ZX":
            return True
    return False


def shut_down(*_):
    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if GRACE > 0:
        # Workers that lose their scheduler while they end may hang: it ends after them.
        for last in (False, True):
            with state_lock:
                for child in running():
                    if child.last is last:
                        child.send("TERM", False)
                    child.send("CONT", True)
            wait(GRACE, lambda child: child.last is last)
    with state_lock:
        for child in running():
            child.send("KILL", True)
    wait(5.0)
    end = time.time() + 5.0
    while left_behind() and time.time() < end:
        time.sleep(0.02)
    for _ in range(50):
        shutil.rmtree(DIRECTORY, ignore_errors=True)
        if not os.path.exists(DIRECTORY):
            break
        time.sleep(0.1)
    report(event="stopped")
    os._exit(0)


class Asked(BaseException):
    pass


def asked(*_):
    raise Asked()


def main():
    # A terminal's Ctrl-C is for the process that owns this one: it decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, asked)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, asked)
    report(event="ready", pid=os.getpid())
    try:
        for line in iter(sys.stdin.buffer.readline, b""):
            command = json.loads(line.decode("utf-8"))
            if command["op"] == "spawn":
                spawn(command)
            elif command["op"] == "signal":
                with state_lock:
                    child = children.get(command["id"])
                    if child is not None:
                        child.send(command["signal"], command["group"])
                if child is not None and command["signal"] == "STOP":
                    stands_still(child)
                report(event="signalled", order=command["order"])
    except Asked:
        pass
    finally:
        shut_down()


main()
