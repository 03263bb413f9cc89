"""Notes what each stage reads: Python imports this first, where PYTHONPATH names this folder.

Of params, the values; of the project's code, the files of all modules that are loaded in the end.

Reading a section is no read, reading a value in it is. A section that is dumped, or made a dict, is
read as a whole.
What the checks of params.yaml read does not count.
"""

import atexit
import json
import os
import sys
from pathlib import Path


def note_reads(file):
    from pyramid_reid.core import params
    from pyramid_reid.core.params import Section

    known, reads, state = {}, set(), {"loaded": False}
    plain_load, plain_dump, plain_iter = params.load, Section.model_dump, Section.__iter__
    plain_copy = Section.model_copy

    def learn(section, prefix):
        known[id(section)] = section, prefix  # kept, so that no other object gets its id
        for name in type(section).model_fields:
            value = section.__dict__[name]
            if isinstance(value, Section):
                learn(value, f"{prefix}{name}.")

    def load(path):
        state["loaded"] = False
        loaded = plain_load(path)
        learn(loaded, "")
        state["loaded"] = True
        return loaded

    def getattribute(self, name):
        value = object.__getattribute__(self, name)
        field = state["loaded"] and id(self) in known and name in type(self).model_fields
        if field and not isinstance(value, Section):
            reads.add(known[id(self)][1] + name)
        return value

    def read_all(section, names):
        for name in names:
            value = getattr(section, name)
            if isinstance(value, Section):
                read_all(value, type(value).model_fields)

    def model_dump(self, **arguments):
        read_all(self, arguments.get("include") or type(self).model_fields)
        return plain_dump(self, **arguments)

    def iterate(self):
        read_all(self, type(self).model_fields)
        return plain_iter(self)

    def model_copy(self, **arguments):
        copy = plain_copy(self, **arguments)
        if id(self) in known:
            learn(copy, known[id(self)][1])
        return copy

    params.load, Section.model_copy = load, model_copy
    Section.model_dump, Section.__iter__ = model_dump, iterate
    Section.__getattribute__ = getattribute

    def note():
        loaded = {getattr(module, "__file__", None) for module in sys.modules.values()} - {None}
        # by now Python has forgotten the file of the script; torch names some that do not exist
        root, files = (
            Path.cwd().resolve(),
            [Path(each).resolve() for each in {*loaded, sys.argv[0]}],
        )
        inside = [each for each in files if each.is_relative_to(root) and each.is_file()]
        code = sorted(each.relative_to(root).as_posix() for each in inside)
        file.write_text(json.dumps({"params": sorted(reads), "code": code}))

    atexit.register(note)


if "PARAM_READS" in os.environ and "DVC_STAGE" in os.environ:
    note_reads(Path(os.environ["PARAM_READS"]) / f"{os.environ['DVC_STAGE']}.json")
