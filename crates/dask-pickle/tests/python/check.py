"""Loads pickles from standard input (one JSON object a line) and compares each with a Python expression."""
import base64
import collections  # noqa: F401  (expressions use these)
import datetime  # noqa: F401
import decimal  # noqa: F401
import fractions  # noqa: F401
import json
import operator  # noqa: F401
import os.path
import pickle
import pickletools
import sys
import uuid  # noqa: F401

from corpus import describe


def same(left, right):
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return list(map(repr, left)) == list(map(repr, right)) and all(map(same, left.values(), right.values()))
    if isinstance(left, (set, frozenset)):
        return left == right and sorted(map(repr, left)) == sorted(map(repr, right))
    if isinstance(left, (datetime.datetime, datetime.time)):
        return left == right and left.fold == right.fold and repr(left) == repr(right)
    return left == right and repr(left) == repr(right) or left != left and right != right


count = 0
for line in sys.stdin:
    record = json.loads(line)
    data = base64.b64decode(record["pickle"])
    if "native" in record:
        if describe(pickle.loads(data)) != record["native"]:
            sys.exit("not %.300r: %.300r" % (record["native"], pickle.loads(data)))
        count += 1
        continue
    expected = eval(record["expression"])
    for loads in (pickle.loads, pickle._loads):
        value = loads(data)
        if not same(value, expected):
            sys.exit("%s: got %.300r, a %s" % (record["expression"][:300], value, type(value)))
    pickletools.dis(data, out=open(os.devnull, "w"))
    count += 1
print(count)
