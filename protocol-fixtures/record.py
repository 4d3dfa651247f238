"""Records what a real Python client of Dask says to its servers, and what they answer.

    PYTHON record.py RELEASE [OUTPUT]

PYTHON is the interpreter of an environment that holds that release; see README.md for how to get one. The recording
goes to OUTPUT/RELEASE, where OUTPUT is the directory of this file unless given.

A scheduler and a worker are started on loopback. The client connects to relays in front of them, and every scenario
is played by a new client. All processes run in one neutral directory and see a neutral host, so that two recordings
differ in times and identifiers only.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time

HOME = "/tmp/dask-fixture"
SCHEDULER, WORKER, RELAY = 28786, 28787, 28785

# Read by every Python process at its start: no name, address or kernel of the recording machine.
NEUTRAL = """
import os
host = os.uname_result(("Linux", "fixture", "1.0", "#1", "x86_64"))
os.uname = lambda: host
import socket, uuid
socket.gethostname = lambda: "fixture"
uuid._node = 0x020000000001
uuid._generate_time_safe = uuid._UuidCreate = None
"""

# What tasks run. Belongs to no module that a worker could import, so it travels by value.
TASKS = """
class Plugin(WorkerPlugin):
    def setup(self, worker):
        worker.fixture = True

    def teardown(self, worker):
        worker.fixture = False


def inc(x):
    return x + 1


def fail(x):
    raise ValueError("no " + x)


def slow():
    import time
    time.sleep(2)


def answer(dask_worker):
    return [dask_worker.name, 42]
"""


def main(release, output):
    shutil.rmtree(HOME, ignore_errors=True)
    os.makedirs(HOME + "/site")
    with open(HOME + "/site/sitecustomize.py", "w") as file:
        file.write(NEUTRAL)
    # Some releases send the source of their caller, with its path.
    shutil.copy(os.path.abspath(__file__), HOME + "/record.py")
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": HOME,
        "TMPDIR": HOME,
        "LANG": "C.UTF-8",
        "PYTHONPATH": HOME + "/site",
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    target = os.path.join(os.path.abspath(output), release)
    command = [sys.executable, HOME + "/record.py", "--inside", release, target]
    code = subprocess.call(command, cwd=HOME, env=environment)
    shutil.rmtree(HOME, ignore_errors=True)
    return code


# Relays


class Recorder:
    """The connections of the scenario that is being played."""

    def __init__(self):
        self.lock = threading.Lock()
        self.connections = []
        self.relays = {}

    def relay(self, peer, port, listen=0):
        """Listens for a peer; gives the port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", listen))
        listener.listen(100)
        self.relays[port] = listener.getsockname()[1]
        thread = threading.Thread(target=self.accept, args=(listener, peer, port))
        thread.daemon = True
        thread.start()
        return self.relays[port]

    def accept(self, listener, peer, port):
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            connection = Connection(peer)
            with self.lock:
                self.connections.append(connection)
            for name, source, sink in [("client", client, server), ("server", server, client)]:
                source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self.pump, args=(connection, name, source, sink))
                thread.daemon = True
                thread.start()

    def pump(self, connection, name, source, sink):
        while True:
            try:
                data = source.recv(1 << 16)
            except OSError:
                data = b""
            with self.lock:
                if data:
                    connection.push(name, data)
                else:
                    connection.open -= 1
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                if not data:
                    return

    def finish(self):
        """The connections since the last call, once they are closed."""
        end = time.time() + 10
        while time.time() < end and any(c.open for c in self.connections):
            time.sleep(0.01)
        with self.lock:
            done, self.connections = self.connections, []
        for number, connection in enumerate(done):
            if connection.open:
                raise SystemExit("connection %d of this scenario is still open" % number)
            for name, stream in connection.streams.items():
                if stream.used != len(stream.data):
                    raise SystemExit("connection %d ends inside a message of the %s" % (number, name))
        return done


class Stream:
    def __init__(self):
        self.data = bytearray()
        self.used = 0


class Connection:
    """Cuts both directions into messages as they arrive, which gives the order between the two."""

    def __init__(self, peer):
        self.peer = peer
        self.open = 2
        self.bare = None
        self.two_parts = None
        self.asked = None
        self.streams = {"server": Stream(), "client": Stream()}
        self.messages = []

    def push(self, name, data):
        stream = self.streams[name]
        stream.data += data
        # The first number of either side tells the framing.
        if self.bare is None and len(stream.data) >= 8:
            self.bare = struct.unpack_from("<Q", stream.data)[0] == 2
        while self.cut(name, stream):
            pass

    def cut(self, name, stream):
        start = stream.used + (0 if self.bare else 8)
        if len(stream.data) < start + 8:
            return False
        (count,) = struct.unpack_from("<Q", stream.data, start)
        if len(stream.data) < start + 8 + 8 * count:
            return False
        lengths = list(struct.unpack_from("<%dQ" % count, stream.data, start + 8))
        body = start + 8 + 8 * count
        end = body + sum(lengths)
        if len(stream.data) < end:
            return False
        # In the oldest releases every message has a first frame that tells how the second one is compressed.
        if self.two_parts is None:
            self.two_parts = len(lengths) == 2
        first = 1 if self.two_parts else 0
        packed = self.two_parts and lengths[0] > 0
        at = body + sum(lengths[:first])
        text = bytes(stream.data[at : at + lengths[first]])
        self.messages.append(
            {
                "from": name,
                "offset": stream.used,
                "length": end - stream.used,
                "frames": lengths,
                "says": "compressed" if packed else self.says(name, text),
            }
        )
        stream.used = end
        return True

    def says(self, name, text):
        import msgpack

        options = {"raw": False, "strict_map_key": False, "use_list": False, "max_map_len": 1 << 20}
        message = msgpack.unpackb(text, **options)
        if isinstance(message, dict) and "pickle-protocol" in message:
            return "handshake"
        if isinstance(message, dict) and "op" in message:
            self.asked = message["op"]
            return message["op"]
        if isinstance(message, tuple) and any(isinstance(m, dict) and "op" in m for m in message):
            return ", ".join(str(m["op"]) for m in message)
        if name == "client":
            return repr(message)[:40]
        return "reply to " + str(self.asked)


# Scenarios. Each gets what it needs by name.


def connect(address, distributed, loop_run, **_):
    async def ask():
        async with distributed.core.rpc(address) as peer:
            await peer.identity()
            await peer.versions()
            await peer.who_has(keys=["nothing"])

    loop_run(ask())


def register(address, distributed, **_):
    client = distributed.Client(address, name="fixture", heartbeat_interval=100)
    time.sleep(0.35)
    client.close()


def submit(client, tasks, wait, **_):
    import operator

    first = client.submit(tasks["inc"], 1, key="inc-1")
    second = client.submit(operator.add, 1, 2, key="add-1", retries=2, priority=5)
    third = client.submit(int, "ff", base=16, key="int-1", workers=["w"], allow_other_workers=True)
    many = client.map(tasks["inc"], range(3), key=["map-0", "map-1", "map-2"])
    wait([first, second, third] + many)
    del first
    time.sleep(0.1)


def dependencies(client, tasks, wait, **_):
    import operator

    first = client.submit(tasks["inc"], 1, key="first")
    second = client.submit(operator.add, first, 10, key="second")
    third = client.submit(sum, [first, second, 1], key="third")
    wait(third)
    graph = {"x": (tasks["inc"], 1), "y": (tasks["inc"], "x"), "z": (operator.add, "x", "y")}
    wait(client.get(graph, "z", sync=False))


def error(client, tasks, wait, **_):
    failed = client.submit(tasks["fail"], "way", key="fail-1")
    after = client.submit(tasks["inc"], failed, key="after-fail")
    wait([failed, after])
    failed.exception()
    failed.traceback()
    failed.retry()
    time.sleep(0.3)


def gather(client, tasks, wait, **_):
    values = [7, 2.5, "text", b"bytes!", [1, 2, [3]], {"a": 1}, None, (1, "x"), {1, 2}, b"\0" * 11000]
    futures = [client.submit(_same, value, key="value-%d" % n) for n, value in enumerate(values)]
    wait(futures)
    if client.gather(futures, direct=False) != values:
        raise SystemExit("gathered something else")


def _same(value):
    return value


def direct(client, tasks, wait, **_):
    futures = [client.submit(_same, value, key="direct-%d" % n) for n, value in enumerate([7, b"bytes!", [1, "x"]])]
    wait(futures)
    client.gather(futures, direct=True)


def scatter(client, wait, **_):
    data = {"scattered-int": 5, "scattered-bytes": b"bytes!", "scattered-list": [1, "two", 3.0]}
    futures = client.scatter(data, direct=False)
    client.gather(list(futures.values()), direct=False)
    client.scatter({"scattered-everywhere": "all"}, broadcast=True, direct=False)


def numpy(client, wait, **_):
    import types

    import numpy as np

    made = [
        client.submit(np.arange, 6, key="arange"),
        client.submit(np.zeros, (40, 32), key="zeros"),
        client.submit(np.asfortranarray, np.arange(6).reshape(2, 3), key="fortran"),
        client.submit(np.array, ["a", "bcd"], key="unicode"),
        client.submit(np.float32, 1.5, key="scalar"),
        client.submit(list, (np.arange(2), np.arange(3)), key="arrays"),
    ]
    wait(made)
    client.gather(made, direct=False)
    client.gather(made, direct=True)
    beside = types.SimpleNamespace(array=np.arange(8.0), name="beside")
    sent = client.scatter({"array": np.arange(4, dtype="i2"), "beside": beside}, direct=False)
    client.gather(list(sent.values()), direct=False)


def plugin(client, tasks, **_):
    if hasattr(client, "register_worker_plugin"):
        client.register_worker_plugin(tasks["Plugin"](), name="fixture-plugin")
    else:
        client.register_plugin(tasks["Plugin"](), name="fixture-plugin")
    if hasattr(client, "unregister_worker_plugin"):
        client.unregister_worker_plugin(name="fixture-plugin")


def cancel(client, tasks, wait, **_):
    future = client.submit(tasks["slow"], key="slow-1")
    other = client.submit(tasks["inc"], future, key="after-slow")
    time.sleep(0.2)
    client.cancel([future, other])
    time.sleep(0.2)


def run(client, tasks, **_):
    client.run(tasks["answer"])
    client.run_on_scheduler(_same, 42)


def variable(client, tasks, distributed, wait, **_):
    shared = distributed.Variable("fixture-variable", client=client)
    shared.set([1, "two"])
    shared.get(timeout=5)
    future = client.submit(tasks["inc"], 41, key="shared")
    wait(future)
    shared.set(future)
    shared.get(timeout=5)
    shared.delete()
    queue = distributed.Queue("fixture-queue", client=client)
    queue.put(3)
    queue.get(timeout=5)
    queue.close()


def publish(client, tasks, wait, **_):
    future = client.submit(tasks["inc"], 1, key="published")
    wait(future)
    client.publish_dataset(future, name="fixture-data")
    client.list_datasets()
    client.get_dataset("fixture-data")
    client.unpublish_dataset("fixture-data")


def events(client, **_):
    if not hasattr(client, "subscribe_topic"):
        return
    client.subscribe_topic("fixture-topic", print)
    # The subscription takes another way than the event.
    time.sleep(0.2)
    client.log_event("fixture-topic", {"n": 1})
    time.sleep(0.2)
    client.unsubscribe_topic("fixture-topic")


def close(client, tasks, wait, **_):
    wait(client.submit(tasks["inc"], 1, key="held"))
    held = client.submit(tasks["inc"], 2, key="held-too")
    client.close()
    del held


SCENARIOS = [
    connect, register, submit, dependencies, error, gather, direct, scatter, numpy, plugin, cancel, run, variable,
    publish, events, close,
]  # fmt: skip


def play(release, target):
    """Runs in the environment of the release."""
    import distributed
    from distributed.comm import tcp

    found = ".".join(str(int(part)) for part in distributed.__version__.split("."))
    if found != release:
        raise SystemExit("%s holds distributed %s, not %s" % (sys.executable, found, release))
    tasks = {"__name__": "__main__", "WorkerPlugin": distributed.WorkerPlugin}
    exec(compile(TASKS, HOME + "/tasks.py", "exec"), tasks)
    recorder = Recorder()
    recorder.relay("scheduler", SCHEDULER, RELAY)
    recorder.relay("worker", WORKER)

    # The client learns the worker's own address; its connections are led to the relay instead.
    inner = tcp.TCPConnector.connect

    async def through_relay(self, address, *args, **kwargs):
        host, _, port = address.rpartition(":")
        if int(port) == WORKER:
            address = "%s:%d" % (host, recorder.relays[WORKER])
        return await inner(self, address, *args, **kwargs)

    tcp.TCPConnector.connect = through_relay

    def loop_run(coroutine):
        import asyncio

        from tornado.ioloop import IOLoop

        asyncio.set_event_loop(asyncio.new_event_loop())

        async def bounded():
            return await asyncio.wait_for(coroutine, 20)

        IOLoop(make_current=True).run_sync(bounded)

    def wait(futures):
        futures = futures if isinstance(futures, list) else [futures]
        distributed.wait(futures, timeout=20)
        # What the client was told last has also been recorded.
        time.sleep(0.05)

    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    index = {
        "release": release,
        "python": "%d.%d.%d" % sys.version_info[:3],
        "packages": packages(),
        "scenarios": {},
    }
    address = "tcp://127.0.0.1:%d" % RELAY
    # The worker is there before the first scenario.
    client = distributed.Client("tcp://127.0.0.1:%d" % SCHEDULER, set_as_default=False)
    client.wait_for_workers(1)
    client.close()
    recorder.finish()
    for scenario in SCENARIOS:
        needs = scenario.__code__.co_varnames[: scenario.__code__.co_argcount]
        client = None
        if "client" in needs:
            client = distributed.Client(address, name="fixture", timeout=20)
        scenario(
            client=client, address=address, tasks=tasks, distributed=distributed, wait=wait, loop_run=loop_run
        )
        if client is not None:
            client.close()
        save(index, target, scenario.__name__, recorder.finish())
    with open(os.path.join(target, "index.json"), "w") as file:
        file.write(render(index))
    print(release, "is recorded")


def packages():
    names = ["dask", "msgpack", "cloudpickle", "tornado", "numpy", "lz4"]
    versions = {}
    for name in names:
        versions[name] = getattr(__import__(name), "version" if name == "tornado" else "__version__", None)
    import msgpack

    versions["msgpack"] = ".".join(map(str, msgpack.version))
    return versions


def save(index, target, name, connections):
    """Both directions of each connection, one after the other, in one file."""
    listed, start = [], 0
    with open(os.path.join(target, name + ".bin"), "wb") as file:
        for connection in connections:
            entry = {"peer": connection.peer}
            for side in ["server", "client"]:
                data = connection.streams[side].data
                file.write(data)
                entry[side] = {"offset": start, "length": len(data)}
                start += len(data)
            entry["messages"] = connection.messages
            listed.append(entry)
    index["scenarios"][name] = {"file": name + ".bin", "connections": listed}


def render(index):
    """JSON with one message a line."""
    text = json.dumps(index, indent=1)
    lines, depth = [], 0
    for line in text.split("\n"):
        here = line.strip()
        indent = len(line) - len(here)
        if indent > 6:
            lines[-1] += here + (" " if here.endswith(",") else "")
        elif indent == 6 and here[:1] in "}]" and depth > 6:
            lines[-1] += here
        else:
            lines.append(line)
        depth = indent
    return "\n".join(lines) + "\n"


def inside(release, target):
    processes = []
    log = open(HOME + "/servers.log", "w+")

    def start(*command):
        processes.append(
            subprocess.Popen([sys.executable, "-m"] + list(command), cwd=HOME, stdout=log, stderr=log)
        )

    def until_open(port):
        end = time.time() + 30
        while time.time() < end:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.05)
            if any(process.poll() is not None for process in processes):
                break
        log.seek(0)
        raise SystemExit("nobody listens on port %d:\n%s" % (port, log.read()))

    try:
        loopback = ["--host", "127.0.0.1", "--no-dashboard"]
        start("distributed.cli.dask_scheduler", "--port", str(SCHEDULER), *loopback)
        until_open(SCHEDULER)
        start(
            "distributed.cli.dask_worker", "tcp://127.0.0.1:%d" % SCHEDULER, "--worker-port", str(WORKER), "--name",
            "w", "--nthreads", "1", "--no-nanny", "--memory-limit", "1GB", "--local-directory", HOME + "/worker",
            *loopback
        )  # fmt: skip
        until_open(WORKER)
        play(release, target)
    finally:
        for process in reversed(processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        inside(*sys.argv[2:4])
    elif len(sys.argv) in (2, 3):
        sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else os.path.dirname(os.path.abspath(__file__))))
    else:
        sys.exit(__doc__)
