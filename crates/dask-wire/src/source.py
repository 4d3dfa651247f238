import ast
import io
import linecache
import pickle
import threading

LIMIT = 256
lock = threading.Lock()
found = {}


def parse(source, file, params):
    if params is None:
        return source
    for name in params:
        if name != "*" and not name.lstrip("*").isidentifier():
            raise SyntaxError("%r cannot be the name of a parameter" % name)
    tree = ast.parse("def python(%s): pass" % ", ".join(params), file)
    tree.body[0].body = ast.parse(source, file).body or tree.body[0].body
    return tree


def load(source, file, params, name):
    with lock:
        entry = found.get((source, params))
        if entry is None:
            while len(found) >= LIMIT:
                linecache.cache.pop(found.pop(next(iter(found)))[1], None)
            entry = found[source, params] = [threading.RLock(), file, None]
    with entry[0]:
        space = entry[2]
        if space is None:
            lines = [line + "\n" for line in source.split("\n")]
            linecache.cache[file] = len(source), None, lines, file
            space = {"__name__": __name__, "__file__": file}
            exec(compile(parse(source, file, params), file, "exec"), space)
            entry[2] = space
    first, *rest = name.split(".")
    if first not in space:
        raise AttributeError("%s does not define %r" % (file, first))
    value = space[first]
    for part in rest:
        value = getattr(value, part)
    return value


class Reader(pickle.Unpickler):
    def persistent_load(self, at):
        return self.values[at]


def read(template, values):
    reader = Reader(io.BytesIO(template))
    reader.values = values
    return reader.load()


def run(template, *values):
    function, args, kwargs = read(template, values)
    return function(*args, **kwargs)
