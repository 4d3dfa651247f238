"""Writes pickles of many values, one JSON object a line, with a description that does not come from the pickle.

Runs on Python 3.6 and later; values whose types are missing are left out.
"""
import array
import base64
import collections
import datetime
import decimal
import enum
import fractions
import functools
import json
import pathlib
import pickle
import random
import struct
import sys
import uuid


class Plain:
    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Slots:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y


class Both(Slots):
    def __init__(self, x, y, z):
        super().__init__(x, y)
        self.z = z


class Color(enum.Enum):
    RED = 1
    BLUE = "blue"


class Level(enum.IntEnum):
    HIGH = 3


class MyError(Exception):
    pass


class MyList(list):
    pass


class MyDict(dict):
    pass


class MyInt(int):
    pass


class MyStr(str):
    pass


class Outer:
    class Inner:
        def __init__(self):
            self.value = 5


class WithKwargs:
    def __new__(cls, *, a):
        self = super().__new__(cls)
        return self

    def __getnewargs_ex__(self):
        return (), {"a": 1}


Point = collections.namedtuple("Point", "x y")


def describe(value):
    kind = type(value)
    if value is None or kind is bool:
        return {"t": "none" if value is None else "bool", "v": value}
    if kind is int:
        return {"t": "int", "v": str(value)}
    if kind is float:
        return {"t": "float", "v": struct.pack(">d", value).hex()}
    if kind is str:
        return {"t": "str", "v": value.encode("utf-8", "surrogatepass").hex()}
    if kind in (bytes, bytearray):
        return {"t": kind.__name__, "v": bytes(value).hex()}
    if kind in (list, tuple):
        return {"t": kind.__name__, "v": [describe(item) for item in value]}
    if kind in (set, frozenset):
        items = sorted((describe(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
        return {"t": kind.__name__, "v": items}
    if kind is dict:
        return {"t": "dict", "v": [[describe(key), describe(item)] for key, item in value.items()]}
    raise TypeError(kind)


rng = random.Random(20240229)


def leaf():
    return rng.choice([
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.randint(-300, 300),
        lambda: rng.randint(-(2 ** 33), 2 ** 33),
        lambda: rng.randint(-(2 ** 70), 2 ** 70),
        lambda: rng.getrandbits(rng.randint(1, 3000)) * rng.choice([1, -1]),
        lambda: rng.random() * 10 ** rng.randint(-300, 300),
        lambda: "".join(chr(rng.choice([rng.randint(0, 127), rng.randint(0, 0xD7FF), rng.randint(0xE000, 0x10FFFF)]))
                        for _ in range(rng.randint(0, 12))),
        lambda: bytes(rng.randint(0, 255) for _ in range(rng.randint(0, 12))),
        lambda: bytearray(rng.randint(0, 255) for _ in range(rng.randint(0, 12))),
    ])()


def hashable(depth):
    value = leaf()
    if isinstance(value, bytearray):
        return bytes(value)
    if depth and rng.random() < 0.3:
        items = [hashable(depth - 1) for _ in range(rng.randint(0, 4))]
        return rng.choice([tuple, frozenset])(items)
    return value


def tree(depth):
    if depth == 0 or rng.random() < 0.3:
        return leaf()
    count = rng.choice([0, 1, 2, 3, 4, 8])
    kind = rng.choice([list, tuple, set, frozenset, dict])
    if kind is dict:
        return {hashable(2): tree(depth - 1) for _ in range(count)}
    if kind in (set, frozenset):
        return kind(hashable(2) for _ in range(count))
    return kind(tree(depth - 1) for _ in range(count))


def native():
    yield from [
        None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2 ** 31 - 1, 2 ** 31, -2 ** 31, -2 ** 31 - 1,
        2 ** 63 - 1, 2 ** 63, -2 ** 63, -2 ** 63 - 1, 2 ** 64, 2 ** 127, -2 ** 127, 2 ** 128, 2 ** 2040, -2 ** 2039,
        0.0, -0.0, 1.5, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"), 0.1,
        "", "a", "é", "日本", "😀", "\ud800", "a\udfffb", "\n\\u0041\\", "\x00", "x" * 255, "x" * 256, "ü" * 300,
        b"", b"\x00\xff", b"y" * 255, b"y" * 256, b"z" * 66000, bytearray(), bytearray(b"abc"), bytearray(b"\xff" * 300),
        [], [1], list(range(1100)), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1}, {1: 2, (3, "x"): [4]},
        {i: str(i) for i in range(1010)}, set(), {1}, set(range(1010)), frozenset(), frozenset([1, "a"]),
        [[[[[]]]]], ((((),),),), {"k": {"k": {"k": {}}}}, [None, True, [False]],
    ]
    shared = ["s", "s"]
    yield [shared, shared, {"k": shared}, "s"]
    yield ["key" * 5] * 5
    for _ in range(100):
        yield tree(4)


def objects():
    """Value, class, and what it becomes as text (or None) and as JSON (or None)."""
    date, time, moment = datetime.date, datetime.time, datetime.datetime
    delta, zone = datetime.timedelta, datetime.timezone
    for value in [date(1, 1, 1), date(2024, 2, 29), date(9999, 12, 31), time(), time(23, 59, 58, 7),
                  time(1, 2, tzinfo=zone(delta(hours=-3, minutes=-30))), moment(2020, 1, 2, 3, 4, 5, 678901),
                  moment(2020, 1, 2, tzinfo=zone.utc), moment(1999, 12, 31, 23, 59, 59, tzinfo=zone(delta(seconds=19800))),
                  moment(2020, 10, 25, 2, 30, fold=1)]:
        yield value, "datetime." + type(value).__name__, value.isoformat(), value.isoformat()
    for value, text in [(delta(0), "PT0S"), (delta(days=1), "P1D"), (delta(days=-1, seconds=3600), "-PT23H"),
                        (delta(hours=1, microseconds=500000), "PT1H0.5S"),
                        (delta(days=3, seconds=61, microseconds=1), "P3DT1M1.000001S")]:
        yield value, "datetime.timedelta", text, text
    for text in ["1.50", "-0", "NaN", "Infinity", "1E+20"]:
        yield decimal.Decimal(text), "decimal.Decimal", text, text
    yield fractions.Fraction(-3, 4), "fractions.Fraction", "-3/4", "-3/4"
    some = uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")
    yield some, "uuid.UUID", str(some), str(some)
    yield uuid.UUID(int=5), "uuid.UUID", str(uuid.UUID(int=5)), str(uuid.UUID(int=5))
    yield 1.5 - 2j, "builtins.complex", None, [1.5, -2.0]
    yield range(1, 10, 3), "builtins.range", None, {"start": 1, "stop": 10, "step": 3}
    yield slice(None, 5), "builtins.slice", None, {"start": None, "stop": 5, "step": None}
    for path in ["/", "/a/b", "a/b/c", "."]:
        yield pathlib.PurePosixPath(path), None, path, path
    yield pathlib.PureWindowsPath("C:\\a\\b"), None, "C:\\a\\b", "C:\\a\\b"
    yield collections.OrderedDict([("b", 1), ("a", 2)]), "collections.OrderedDict", None, {"b": 1, "a": 2}
    yield collections.OrderedDict(), "collections.OrderedDict", None, {}
    yield collections.defaultdict(list, {"k": [1]}), "collections.defaultdict", None, {"k": [1]}
    yield collections.Counter("aab"), "collections.Counter", None, {"a": 2, "b": 1}
    yield collections.deque([1, 2], maxlen=5), "collections.deque", None, [1, 2]
    yield collections.deque(), "collections.deque", None, []
    yield Point(1, "y"), "__main__.Point", None, [1, "y"]
    yield Plain(), "__main__.Plain", None, {}
    yield Plain(a=1, b=[2]), "__main__.Plain", None, {"a": 1, "b": [2]}
    for member in [Color.RED, Color.BLUE, Level.HIGH]:
        # Some releases pickle members by name, others by value.
        plain = member.name if member.__reduce_ex__(2)[0] is getattr else member.value
        yield member, "__main__." + type(member).__name__, plain if isinstance(plain, str) else None, plain
    yield MyList([1, 2]), "__main__.MyList", None, [1, 2]
    yield MyDict(a=1), "__main__.MyDict", None, {"a": 1}
    yield MyInt(7), "__main__.MyInt", None, ["MyInt", 7]
    yield MyStr("s"), "__main__.MyStr", "s", ["MyStr", "s"]
    yield MyError("why", 1), "__main__.MyError", None, None
    yield MyError("why"), "__main__.MyError", None, None
    yield ValueError("why"), "builtins.ValueError", None, None
    yield functools.partial(int, "5"), "functools.partial", None, None
    yield array.array("i", [1]), None, None, None


def modern():
    """Objects that need protocol 2, or a newer Python."""
    yield Slots(1, "two"), "__main__.Slots", None, {"x": 1, "y": "two"}
    yield Both(1, 2, 3), "__main__.Both", None, {"x": 1, "y": 2, "z": 3}
    try:
        import dataclasses

        global Data
        Data = dataclasses.make_dataclass("Data", [("x", int), ("y", str)])
        Data.__module__ = __name__
        yield Data(1, "b"), "__main__.Data", None, {"x": 1, "y": "b"}
    except ImportError:
        pass
    yield WithKwargs(a=1), "__main__.WithKwargs", None, None


def dotted():
    yield Outer.Inner(), "__main__.Outer.Inner", None, {"value": 5}


def zones():
    try:
        import zoneinfo

        zone = zoneinfo.ZoneInfo("Europe/Paris")
    except Exception:
        return
    text = "2020-07-01T00:00:00[Europe/Paris]"
    yield datetime.datetime(2020, 7, 1, tzinfo=zone), "datetime.datetime", text, text


def libraries():
    """Values of libraries that may be installed."""
    try:
        import numpy
    except ImportError:
        return
    scalars = [
        ("bool_", True, True), ("int8", -5, -5), ("uint8", 200, 200), ("int16", -300, -300), ("uint16", 60000, 60000),
        ("int32", -70000, -70000), ("uint32", 2 ** 32 - 1, 2 ** 32 - 1), ("int64", -2 ** 62, -2 ** 62),
        ("uint64", 2 ** 64 - 1, 2 ** 64 - 1), ("float16", 1.5, 1.5), ("float16", 2.0 ** -15, 2.0 ** -15),
        ("float32", 0.5, 0.5), ("float64", 0.1, 0.1), ("complex128", 1 + 2j, [1.0, 2.0]), ("complex64", 1j, [0.0, 1.0]),
        ("str_", "héllo", "héllo"),
    ]
    for name, value, expected in scalars:
        text = expected if isinstance(expected, str) else None
        yield getattr(numpy, name)(value), None, text, expected
    for text, unit, expected in [
        ("2024-02-29", "D", "2024-02-29"), ("1969-12-31", "D", "1969-12-31"), ("2024-03", "M", "2024-03-01"),
        ("1900", "Y", "1900-01-01"), ("2024-02-29T01", "h", "2024-02-29T01:00:00"),
        ("1969-12-31T23:59:59.5", "ms", "1969-12-31T23:59:59.500000"),
        ("2024-02-29T01:02:03.000456", "us", "2024-02-29T01:02:03.000456"),
        ("2024-02-29T01:02:03.000456789", "ns", "2024-02-29T01:02:03.000456789"),
        ("2024-02-29T01:02:03.000456", "ns", "2024-02-29T01:02:03.000456"),
        ("2024-02-29T01:02:25", "25s", "2024-02-29T01:02:05"),
    ]:
        yield numpy.datetime64(text, unit), None, expected, expected
    yield numpy.timedelta64(-1, "D"), None, "-P1D", "-P1D"
    yield numpy.timedelta64(90, "m"), None, "PT1H30M", "PT1H30M"
    yield numpy.timedelta64(7), None, None, 7
    yield numpy.datetime64("NaT", "s"), None, None, None
    yield numpy.void(b"raw"), None, None, None
    yield numpy.longdouble(1.5), None, None, None
    big = numpy.array([258], dtype=">i4")[0]
    yield big, None, None, 258


def emit(value, protocols, dump, description, out_of_band=False):
    """One value, pickled with each of the protocols."""
    pickles = []
    for protocol in protocols:
        buffers = []
        kwargs = {"buffer_callback": buffers.append} if out_of_band else {}
        data = dump(value, protocol=protocol, **kwargs)
        pickles.append({
            "protocol": protocol,
            "pickle": base64.b64encode(data).decode(),
            "buffers": [base64.b64encode(buffer.raw()).decode() for buffer in buffers],
        })
    name = repr(value)[:60].encode("ascii", "backslashreplace").decode()
    print(json.dumps(dict(description, repr=name, pickles=pickles)))


def main():
    highest = pickle.HIGHEST_PROTOCOL
    for index, value in enumerate(native()):
        dump = pickle._dumps if index % 7 == 3 else pickle.dumps
        emit(value, range(highest + 1), dump, {"native": describe(value)})
    for source, first in [(objects, 0), (modern, 2), (zones, 2), (dotted, 4), (libraries, 2)]:
        for value, name, text, plain in source():
            description = {"class": name, "text": text, "json": plain, "has_json": plain is not None}
            emit(value, range(first, highest + 1), pickle.dumps, description)
    if highest >= 5:
        for value in [pickle.PickleBuffer(b"abc"), pickle.PickleBuffer(bytearray(b"def"))]:
            kind = "bytes" if value.raw().readonly else "bytearray"
            description = {"native": {"t": kind, "v": bytes(value.raw()).hex()}}
            emit(value, [5], pickle.dumps, description, out_of_band=True)
            emit(value, [5], pickle.dumps, description)
        pair = [pickle.PickleBuffer(b"x" * 10), pickle.PickleBuffer(bytearray(b"y"))]
        description = {"native": {"t": "list", "v": [{"t": "bytes", "v": "78" * 10}, {"t": "bytearray", "v": "79"}]}}
        emit(pair, [5], pickle.dumps, description, out_of_band=True)


if __name__ == "__main__":
    main()
