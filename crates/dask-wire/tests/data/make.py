"""Serializes values with the installed `distributed` and writes header and frames to one JSON file.

    python make.py OUT.json

Made with `distributed==2026.8.0` (Python 3.11, NumPy 2.4, tblib 3.2.2) for new.json and with
`distributed==2021.9.1` (Python 3.9, NumPy 1.26, tblib 1.7.0) for old.json.
"""

import array
import base64
import json
import pickle
import sys
import traceback

import dask
import distributed
import numpy as np
import pyarrow as pa
import tblib.pickling_support
from distributed.core import error_message
from distributed.protocol import deserialize, serialize, to_serialize
from distributed.scheduler import KilledWorker, WorkerState

NEW = distributed.__version__ >= "2021.11"


def plain(x):
    """What JSON cannot say: bytes as {"$b": base64}, dict as {"$m": pairs}."""
    if isinstance(x, (bytes, bytearray, memoryview)):
        return {"$b": base64.b64encode(bytes(x)).decode()}
    if isinstance(x, dict):
        return {"$m": [[plain(k), plain(v)] for k, v in x.items()]}
    if isinstance(x, (list, tuple)):
        return [plain(i) for i in x]
    if isinstance(x, (set, frozenset)):
        return [plain(i) for i in sorted(x)]
    return x


def parts(header, frames):
    return {"header": plain(header), "frames": [plain(memoryview(f).cast("B") if memoryview(f).nbytes else b"") for f in frames]}


def value(x, **kwargs):
    kwargs.setdefault("context", {"pickle-protocol": 5})
    return parts(*serialize(x, **kwargs))


class CustomError(ValueError):
    """Of a module of its own."""

    def __init__(self, code, text):
        super().__init__(code, text)
        self.code = code


CustomError.__module__ = "some.package"
module = type(sys)("some.package")
module.CustomError = CustomError
sys.modules["some"] = type(sys)("some")
sys.modules["some.package"] = module


class LocalError(Exception):
    """Of `__main__`, so pickled by value."""


def plain_error():
    return 1 / 0


def key_error():
    return {}["it's"]


def os_error():
    open("/does/not/exist")


def custom():
    raise CustomError(7, "seven")


def local():
    raise LocalError("by value")


def chained():
    try:
        plain_error()
    except ZeroDivisionError as e:
        raise RuntimeError("outer") from e


def context():
    try:
        plain_error()
    except ZeroDivisionError:
        raise RuntimeError("while handling")


def suppressed():
    try:
        plain_error()
    except ZeroDivisionError:
        raise RuntimeError("alone") from None


def notes():
    e = ValueError("noted")
    e.add_note("first note")
    e.add_note("second\nnote")
    raise e


def empty():
    raise ValueError


def several():
    raise ValueError("a", 1, 2.5, None, b"x", [True], ("t",), {"k": 1e20})


def unicode_error():
    b"\xff".decode("utf-8")


def import_error():
    import not_there_at_all  # noqa


def attribute_error():
    return (1).nothing


def cancelled():
    import asyncio

    raise asyncio.CancelledError("stopped")


def timeout():
    raise distributed.TimeoutError("too late")


def recursion(n=6):
    if n:
        return recursion(n - 1)
    raise ValueError("deep")


def group():
    raise ExceptionGroup("several", [ValueError("one"), KeyError("two")])


def killed():
    if NEW:
        from distributed.core import Status

        ws = WorkerState(
            address="tcp://127.0.0.1:4567", status=Status.running, pid=1, name="w", nthreads=1, memory_limit=0,
            local_directory="/tmp", nanny="tcp://127.0.0.1:4568", server_id="Worker-1",
        )
        ws._occupancy_cache = 0  # as `clean` leaves it
        raise KilledWorker("inc-1", ws, 3)
    ws = WorkerState(address="tcp://127.0.0.1:4567", pid=1, name="w", nthreads=1)
    raise KilledWorker("inc-1", ws.clean())


def future_cancelled():
    from distributed.client import FutureCancelledError

    raise FutureCancelledError("x-1", "lost", "no worker")


def local_class():
    class Inner(Exception):
        pass

    raise Inner("from a function")


def error(function):
    """The reply of a failed call, with the exception and traceback as the wire has them."""
    import linecache

    try:
        function()
    except BaseException as e:
        shown = traceback.TracebackException.from_exception(e)
        text = "".join(shown.format())
        said = str(e)
        message = error_message(e)
        # What the receiver makes of it, without source lines.
        linecache.cache.clear()
        linecache.getlines = lambda *a, **k: []
        linecache.getline = lambda *a, **k: ""
        linecache.lazycache = lambda *a, **k: False
        from distributed.core import clean_exception

        raw, raw_tb = (message[k] and deserialize(*serialize(message[k].data)) for k in ("exception", "traceback"))
        _, back, tb = clean_exception(raw, raw_tb)
        back = back.with_traceback(tb)
        printed = "".join(traceback.format_exception(type(back), back, tb))
    out = {k: v for k, v in message.items() if isinstance(v, str)}
    for k in ("exception", "traceback"):
        out[k] = message[k] and value(message[k].data, iterate_collection=True)
    # Carets are guesses of the reading Python about columns it does not know.
    lines = [line for line in printed.split("\n") if not set(line.strip()) <= set("^~") or not line.strip()]
    out["str"] = said
    out["printed"] = "\n".join(lines).rstrip("\n")
    out["class"] = type(e_class(function)).__qualname__
    return out


def e_class(function):
    try:
        function()
    except BaseException as e:
        return e


values = {
    "int": value(5),
    "none": value(None),
    "text": value("text"),
    "list_pickled": value([1, 2.5, "x"], iterate_collection=False),
    "bytes": value(b"bytes!"),
    "bytearray": value(bytearray(b"array")),
    "memoryview": value(memoryview(np.arange(6, dtype="<i4").reshape(2, 3))),
    "array.array": value(array.array("d", [1.5, -2.0])),
    "list": value([1, 2.5, "three", None], iterate_collection=True),
    "tuple": value((1, (2, [3])), iterate_collection=True),
    "set": value({1}, iterate_collection=True),
    "dict": value({"a": 1, "b": [1, 2], "c": np.arange(3.0)}, iterate_collection=True),
    "nested": value([[np.arange(2)], {"k": b"v"}], iterate_collection=True),
    "msgpack": value({"a": [1, None]}, serializers=["msgpack"]),
    "error": parts({"serializer": "error"}, [b"Could not serialize object of type T", b"Traceback"]),
    "table": value(pa.table({"i": pa.array([1, 2, None], pa.int64()), "s": ["a", "b", "c"], "f": [0.5, 1.5, 2.5]})),
    "batch": value(pa.RecordBatch.from_pydict({"x": pa.array([1.0, 2.0])})),
    "dict_with_array_pickled": value({"x": np.arange(3), "t": (np.float64(1.5), "s")}, serializers=["pickle"]),
    "class": value(ValueError, serializers=["pickle"]),
}

a = np.arange(24, dtype="<i8").reshape(2, 3, 4)
arrays = {
    "i8": np.arange(6, dtype="<i8").reshape(2, 3),
    "f8_big": np.array([1.5, -2.25, 1e300], dtype=">f8"),
    "f4": np.array([[0.5], [1.5]], dtype="<f4"),
    "f2": np.array([1.0, -0.5, np.inf, 6.1e-5], dtype="<f2"),
    "u1": np.array([1, 2, 255], dtype="u1"),
    "i2_big": np.array([-2, 300], dtype=">i2"),
    "u8": np.array([2**64 - 1], dtype="<u8"),
    "bool": np.array([True, False]),
    "c16": np.array([1 + 2j, -0.5j]),
    "c8": np.array([1 + 2j], dtype="<c8"),
    "zero_d": np.array(7.5),
    "empty": np.empty((0, 3)),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "strided": a[:, ::2, 1:3],
    "reversed": np.arange(5)[::-1],
    "transposed": a.transpose(2, 0, 1),
    "broadcast": np.broadcast_to(np.array([1.0, 2.0, 3.0]), (4, 3)),
    "broadcast_scalar": np.broadcast_to(np.int32(9), (2, 2)),
    "dates": np.array(["2020-01-02", "NaT"], dtype="M8[ns]"),
    "days": np.array([1, 2], dtype="m8[D]"),
    "texts": np.array(["ab", "ü", ""]),
    "strings": np.array([b"ab", b"c"]),
    "record": np.array([(1, 2.5, "x"), (3, 4.5, "yy")], dtype=[("i", "<i4"), ("f", "<f8"), ("s", "<U2")]),
    "record_sub": np.array([(1, [[1, 2], [3, 4]])], dtype=[("n", "<i2"), ("m", "<i4", (2, 2))]),
    "record_aligned": np.array([(1, 2.5)], dtype=np.dtype([("b", "i1"), ("f", "<f8")], align=True)),
    "void": np.array([b"abcd"], dtype="V4"),
    "object": np.array([[1, "a"], [None, 2.5]], dtype=object),
    "object_fortran": np.asfortranarray(np.array([[1, 2, 3], [4, 5, 6]], dtype=object)),
}


def as_list(x):
    if x.dtype.kind in "Mm":
        n = x.astype("i8").tolist()
        return [None if i == -(2**63) else i for i in n]
    if x.dtype.kind == "c":
        return [[c.real, c.imag] for c in x.tolist()]

    def walk(i):
        if isinstance(i, (list, tuple)):
            return [walk(j) for j in i]
        if isinstance(i, np.ndarray):
            return walk(i.tolist())
        if isinstance(i, np.generic):
            return walk(i.item())
        if isinstance(i, bytes):
            return {"$b": base64.b64encode(i).decode()}
        if isinstance(i, float) and i in (float("inf"), float("-inf")):
            return {"$f": str(i)}
        return i

    return walk(x.tolist())


values.update({f"array/{name}": {**value(x), "list": as_list(x)} for name, x in arrays.items()})
for protocol in (2, 4, 5):
    for name in ("i8", "fortran", "strided", "transposed", "dates", "record", "zero_d", "object", "f8_big"):
        x = arrays[name]
        values[f"pickled{protocol}/{name}"] = {
            **value(x, serializers=["pickle"], context={"pickle-protocol": protocol}),
            "list": as_list(x),
        }
masked = np.ma.masked_array([[1.0, 2.0], [3.0, 4.0]], mask=[[True, False], [False, True]], fill_value=-1.0)
values["masked"] = value(masked)
values["unmasked"] = value(np.ma.masked_array([1, 2]))
values["matrix"] = value(np.matrix([[1, 2]]))

functions = [
    plain_error, key_error, os_error, custom, local, chained, context, suppressed, empty, several, unicode_error,
    import_error, attribute_error, cancelled, timeout, recursion, killed, local_class,
]
if NEW:
    functions += [notes, group, future_cancelled]

out = {
    "distributed": distributed.__version__,
    "python": sys.version.split()[0],
    "numpy": np.__version__,
    "values": values,
    "errors": {f.__name__: error(f) for f in functions},
}
with open(sys.argv[1], "w") as f:
    json.dump(out, f, indent=None, separators=(",", ":"))
    f.write("\n")
