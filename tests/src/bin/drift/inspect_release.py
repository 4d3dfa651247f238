"""What one release of Dask accepts and sends, as JSON. Run inside its environment; the arguments are pickles, in
hexadecimal, that the release must be able to read."""

import ast
import asyncio
import importlib
import inspect
import json
import os
import pickle
import sys
import tempfile

import distributed
from distributed import Nanny, Scheduler, Worker


def fields(handler):
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return "**"
    # The connection comes first and is no field.
    if parameters and parameters[0].name in ("comm", "stream", "_comm"):
        parameters = parameters[1:]
    found = []
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:
            found.append("**")
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            found.append(parameter.name + ("" if parameter.default is parameter.empty else "?"))
    return " ".join(found)


def table(handlers):
    return {name: fields(handler) for name, handler in handlers.items()}


async def handlers():
    directory = tempfile.mkdtemp()
    os.chdir(directory)
    address = os.environ["DASK_LOCAL_SCHEDULER"]
    scheduler = Scheduler(dashboard=False, port=0)
    worker = Worker(address, nthreads=1, local_directory=directory)
    nanny = Nanny(address, nthreads=1, local_directory=directory)
    seen = {
        "scheduler": table(scheduler.handlers),
        "stream": table(scheduler.stream_handlers),
        "worker": table(worker.handlers),
        "nanny": table(nanny.handlers),
    }
    print(json.dumps({"handlers": seen, "sends": sends(), "handles": handles(), "unread": unread()}), flush=True)
    # None of the three was started, so there is nothing to close.
    os._exit(0)


def tree(module):
    with open(importlib.import_module(module).__file__) as file:
        return ast.parse(file.read())


def text(node):
    """Of a literal; Python up to 3.7 has a class of its own for those."""
    value = getattr(node, "value", None) if type(node).__name__ == "Constant" else getattr(node, "s", None)
    return value if isinstance(value, str) else None


def sends():
    """Ops in messages that a client puts together, and methods that it calls on its RPC objects."""
    found = set()
    modules = ["client", "variable", "queues", "event", "lock", "semaphore", "multi_lock", "actor", "publish"]
    for name in modules:
        try:
            nodes = list(ast.walk(tree("distributed." + name)))
        except ImportError:
            continue
        # Classes on the scheduler's side speak to others than the scheduler.
        for node in nodes:
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values):
                    if text(key) == "op" and text(value):
                        found.add(text(value))
            if name == "client" and isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                target = node.func.value
                if isinstance(target, ast.Attribute) and target.attr == "scheduler":
                    found.add(node.func.attr)
    return sorted(found)


def handles():
    """Ops that the client takes from its stream, and the fields that it finds in each."""
    found = {}
    for node in ast.walk(tree("distributed.client")):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and isinstance(node.value, ast.Dict):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Attribute) and target.attr == "_stream_handlers":
                    for key, value in zip(node.value.keys, node.value.values):
                        if text(key):
                            method = getattr(distributed.Client, getattr(value, "attr", ""), None)
                            found[text(key)] = " ".join(fields(method).split(" ")[1:]) if method else "**"
    return found


def unread():
    """Why a pickle of ours cannot be read here."""
    found = []
    for argument in sys.argv[1:]:
        try:
            pickle.loads(bytes.fromhex(argument))
        except Exception as error:
            found.append("{}: {}".format(type(error).__name__, error))
    return found


if __name__ == "__main__":
    asyncio.get_event_loop_policy().new_event_loop().run_until_complete(handlers())
