"""Importable on the workers alone."""

import os


def double(x):
    return 2 * x


class Account:
    def __init__(self, balance=0):
        self.balance = balance

    def deposit(self, amount):
        self.balance += amount
        return self.balance


class OutOfMoney(Exception):
    pass


def spend(balance, amount):
    if amount > balance:
        raise OutOfMoney("%d is more than %d" % (amount, balance))
    return balance - amount


def fail_until(path, times):
    """Fails `times` times, counting in a file, then returns the count."""
    with open(path, "a") as f:
        f.write("x")
    count = os.path.getsize(path)
    if count <= times:
        raise RuntimeError("attempt %d" % count)
    return count


class Registered:
    """Of a class with a serializer of its own."""

    def __init__(self, payload):
        self.payload = payload


def registered(number):
    return Registered(b"%d" % number * 3)


def _register():
    from distributed.protocol import dask_deserialize, dask_serialize

    @dask_serialize.register(Registered)
    def serialize(value):
        return {"length": len(value.payload)}, [value.payload]

    @dask_deserialize.register(Registered)
    def deserialize(header, frames):
        payload = b"".join(bytes(frame) for frame in frames)
        assert len(payload) == header["length"]
        return Registered(payload)


_register()


def log(name, level, message):
    import logging

    getattr(logging.getLogger(name), level)(message)


def level(name):
    import logging

    return logging.getLogger(name).level
