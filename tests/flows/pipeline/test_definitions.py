"""Which code a function reaches, however it is spelled. Each case is a small tree with an edit in it: «before|after»."""

import re
from pathlib import Path

import pytest

from flows.pipeline.definitions import Code
from flows.pipeline.reach import Reach, reach

REACHED = {
    "the function itself": {"run": "def run(x): return x «+|-» 1"},
    "a constant": {"run": "A = «1|2»\ndef run(): return A"},
    "an annotated constant": {"run": "A: int = «1|2»\ndef run(): return A"},
    "a constant among others": {"run": "A, (B, *C) = 1, (2, «3|4»)\ndef run(): return C"},
    "a constant that is added to": {"run": "A = [1]\nA += [«2|3»]\ndef run(): return A"},
    "a default": {"run": "A = «1|2»\ndef run(x=A): return x"},
    "a keyword's default": {"run": "def run(*, x=«1|2»): return x"},
    "a decorator": {"run": "def twice(f): return «f|None»\n@twice\ndef run(): pass"},
    "a decorator more": {"run": "import functools\n«|@functools.cache»\ndef run(): pass"},
    "a nested function": {"run": "def run():\n  def inner(): return «1|2»\n  return inner"},
    "what a nested function uses": {"run": "A = «1|2»\ndef run(): return lambda: [A for _ in ()]"},
    "what a comprehension goes through": {"run": "a = «1|2»\ndef run(): return [a for a in a]"},
    "a partial": {
        "run": "from functools import partial\ndef f(x): return «1|2»\ndef run(): return partial(f, 1)"
    },
    "a table of functions": {"run": "def f(): return «1|2»\nT = {'f': f}\ndef run(k): return T[k]()"},
    "a table filled line by line": {"run": "T = {}\ndef f(): return «1|2»\nT['f'] = f\ndef run(): return T"},
    "what registers itself with a decorator": {
        "run": "from tasks.table import T\nimport tasks.others\ndef run(): return T",
        "table": "T = {}\ndef put(f): T[f.__name__] = f",
        "others": "from tasks.table import put\n@put\ndef g(): return «1|2»",
    },
    "what registers itself in a call": {
        "run": "from tasks.table import T\nimport tasks.others\ndef run(): return T",
        "table": "T = []",
        "others": "from tasks import table\ndef g(): return «1|2»\ntable.T.append(g)",
    },
    "what registers itself on the way to a constant": {
        "run": "from tasks.table import T\nfrom tasks import others\ndef run(): return T",
        "table": "T = []\ndef put(f): T.append(f)",
        "others": "from tasks.table import put\n_done = put(lambda: «1|2»)",
    },
    "what a class's body writes elsewhere": {
        "run": "from tasks.table import T\nimport tasks.others\ndef run(): return T",
        "table": "T = {}",
        "others": "from tasks.table import T\nclass A:\n  T['a'] = «1|2»",
    },
    "what a class's body adds elsewhere": {
        "run": "from tasks.table import T\nimport tasks.others\ndef run(): return T",
        "table": "T = []",
        "others": "from tasks.table import T\nclass A:\n  T += [«1|2»]",
    },
    "what an import in a class's body does": {
        "run": "import tasks.others\ndef run(): pass",
        "others": "class A:\n  import tasks.table",
        "table": "import torch\ntorch.set_num_threads(«1|2»)",
    },
    "an overload": {
        "run": "from functools import singledispatch\n@singledispatch\ndef run(x): pass\n"
        "@run.register\ndef _(x: int): return «1|2»"
    },
    "a setting of a library": {"run": "import torch\ntorch.set_num_threads(«1|2»)\ndef run(): pass"},
    "a setting in a module that is imported": {
        "run": "import tasks.other\ndef run(): pass",
        "other": "import torch\ntorch.set_num_threads(«1|2»)",
    },
    "what importing a package does": {
        "run": "from tasks.deep.inner import f\ndef run(): f()",
        "deep/inner": "def f(): pass",
        "deep/__init__": "import os\nos.environ['A'] = '«1|2»'",
    },
    "what a lazy import does": {
        "run": "def run():\n  import tasks.other",
        "other": "import os\nos.environ['A'] = '«1|2»'",
    },
    "an attribute of a class": {"run": "class A:\n  x = «1|2»\ndef run(): return A()"},
    "a method": {"run": "class A:\n  def m(self): return «1|2»\ndef run(): return A().m()"},
    "what a method uses, though the class has its name": {
        "run": "def f(): return «1|2»\nclass A:\n  def f(self): return f()\ndef run(): return A()"
    },
    "a property": {"run": "class A:\n  @property\n  def p(self): return «1|2»\ndef run(a: A): return a.p"},
    "an inherited method": {
        "run": "from tasks.base import Base\nclass A(Base): pass\ndef run(): return A().m()",
        "base": "class Base:\n  def m(self): return «1|2»",
    },
    "a field of a dataclass": {
        "run": "from dataclasses import dataclass\n@dataclass\nclass A:\n  x: int = «1|2»\ndef run(): return A()"
    },
    "the class of a field": {
        "run": "from tasks.other import B\nclass A:\n  b: B\ndef run(): return A",
        "other": "class B:\n  x = «1|2»",
    },
    "the class of an argument, in quotes": {
        "run": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n  from tasks.other import B\n"
        "def run(b: 'list[B | None]'): return b",
        "other": "class B:\n  x = «1|2»",
    },
    "a validator": {
        "run": "from pydantic import BaseModel, field_validator\nclass A(BaseModel):\n  x: int\n"
        "  @field_validator('x')\n  def check(cls, x): return x + «1|2»\ndef run(a: A): return a.x"
    },
    "a class that its base collects": {
        "run": "from tasks.base import Base\nfrom tasks import others\ndef run(): return Base.all",
        "base": "class Base:\n  all = []\n  def __init_subclass__(cls): Base.all.append(cls)",
        "others": "from tasks.base import Base\nclass A(Base):\n  x = «1|2»",
    },
    "a class that its metaclass collects": {
        "run": "from tasks.base import Base\nimport tasks.others\ndef run(): return Base.all",
        "base": "class Meta(type): pass\nclass Base(metaclass=Meta): all = []",
        "others": "from tasks.base import Base\nclass A(Base):\n  x = «1|2»",
    },
    "an import inside a function": {
        "run": "def run():\n  from tasks.other import f as g\n  return g()",
        "other": "def f(): return «1|2»",
    },
    "an attribute of a module": {
        "run": "from tasks import other\ndef run(): return other.f()",
        "other": "def f(): return «1|2»",
    },
    "an attribute of a dotted module": {
        "run": "import tasks.other\ndef run(): return tasks.other.A.x",
        "other": "class A: x = «1|2»",
    },
    "a module by another name": {
        "run": "import tasks.other as o\ndef run(): return o.f",
        "other": "def f(): return «1|2»",
    },
    "a relative import": {"run": "from .other import f\ndef run(): f()", "other": "def f(): return «1|2»"},
    "a relative import of a module": {
        "run": "from . import other\ndef run(): other.f()",
        "other": "def f(): return «1|2»",
    },
    "what a package hands on": {
        "run": "from tasks.deep import g\ndef run(): g()",
        "deep/inner": "def f(): return «1|2»",
        "deep/__init__": "from .inner import f as g",
    },
    "an import that may fail": {
        "run": "try:\n  from tasks.other import f\nexcept ImportError:\n  f = None\ndef run(): f()",
        "other": "def f(): return «1|2»",
    },
    "the other branch of a definition": {
        "run": "import sys\nif sys.argv:\n  def f(): return «1|2»\nelse:\n  def f(): return 3\ndef run(): f()"
    },
    "the condition of a definition": {
        "run": "import sys\nA = «1|2»\nif A == 1:\n  def f(): return 1\nelse:\n  def f(): return 3\ndef run(): f()"
    },
    "a definition that is made twice": {
        "run": "def f(): return 1\n«|def f(): return 3»\ndef run(): f()",
    },
    "a global that another function sets": {
        "run": "A = 0\ndef set_it():\n  global A\n  A = «1|2»\ndef run(): return A"
    },
    "a star import": {"run": "from tasks.other import *\ndef run(): f()", "other": "def f(): return «1|2»"},
    "a star import of a package's": {
        "run": "from tasks.deep import f\ndef run(): f()",
        "deep/inner": "def f(): return «1|2»",
        "deep/__init__": "from .inner import *",
    },
    "a module that makes its names": {
        "run": "from tasks.other import anything\ndef run(): anything()",
        "other": "def __getattr__(name): return _f\ndef _f(): return «1|2»",
    },
    "a name by a string": {
        "run": "from tasks import other\ndef run(n): return getattr(other, n)",
        "other": "def f(): return «1|2»",
    },
    "a module in a variable": {
        "run": "from tasks import other\no = other\ndef run(): return o.f()",
        "other": "def f(): return «1|2»",
    },
    "globals()": {"run": "def f(): return «1|2»\ndef run(n): return globals()[n]()"},
    "a module by a string": {
        "run": "import importlib\ndef run(): return importlib.import_module('tasks.other').f()",
        "other": "def f(): return «1|2»\nif __name__ == '__main__':\n  print(1)",
    },
    "a process": {
        "run": "import subprocess, sys\ndef run(): subprocess.run([sys.executable, '-m', 'tasks.other'])",
        "other": "def main(): f()\ndef f(): return «1|2»\nif __name__ == '__main__':\n  main()",
    },
    "the process of a package": {
        "run": "from tasks.start import start\ndef run(): start('tasks.server')",
        "start": "def start(name): pass",
        "server/__main__": "from tasks.server.app import f\nif __name__ == '__main__':\n  f()",
        "server/app": "def f(): return «1|2»",
    },
    "a module that is changed from outside": {
        "run": "from tasks import other\ndef f(): return «1|2»\nother.g = f\ndef run(): return other.h()",
        "other": "def g(): pass\ndef h(): return g()",
    },
    "a file beside it": {
        "run": "from pathlib import Path\ndef run(): return Path(__file__).with_name('words.txt')",
        "words.txt": "«one|two»",
    },
    "a module by the name of its file": {
        "run": "import runpy\ndef run(): runpy.run_path(__file__.replace('run.py', 'other.py'))",
        "other": "def f(): return «1|2»",
    },
    "an exception": {"run": "class E(Exception): code = «1|2»\ndef run():\n  raise E"},
    "a pattern": {"run": "class P: x = «1|2»\ndef run(v):\n  match v:\n    case P(x=y): return y"},
    "a context manager": {
        "run": "from contextlib import contextmanager\n@contextmanager\ndef c():\n  yield «1|2»\n"
        "async def run():\n  with c() as x: return x"
    },
    "True instead of 1": {"run": "def run(): return «1|True»"},
    "a number of another type": {"run": "def run(): return «1|1.0»"},
    "a statement less": {"run": "def run(x):\n  «assert x|pass»\n  return x"},
    "the order of statements": {"run": "def run(x):\n  «x += 1; x *= 2|x *= 2; x += 1»\n  return x"},
    "the order of arguments": {"run": "def run(«a, b|b, a»): return a - b"},
    "what an argument must be": {"run": "def run(a«|: int»): return a"},
    "which is called by a name, though both are reached": {
        "run": "from tasks.other import «f as g, h as k|h as g, f as k»\ndef run(): return g() - k()",
        "other": "def f(): return 1\ndef h(): return 2",
    },
    "which module a name is, though both are reached": {
        "run": "from tasks import «one as a, two as b|two as a, one as b»\ndef run(): return a.f() - b.f()",
        "one": "def f(): return 1",
        "two": "def f(): return 2",
    },
    "which of two namesakes, though both are reached": {
        "run": "from tasks.f import f\nfrom tasks.g import g\ndef run(): return f(), g()",
        "f": "from tasks.«one|two».same import x\ndef f(): return x()",
        "g": "from tasks.two.same import x\ndef g(): return x()",
        "one/same": "def x(): return y()\ndef y(): return 1",
        "two/same": "def x(): return y()\ndef y(): return 2",
    },
}

NOT_REACHED = {
    "another function of the file": {"run": "def run(): pass\ndef other(): return «1|2»"},
    "a constant of another function's": {"run": "A = «1|2»\ndef run(): pass\ndef other(): return A"},
    "a module that is only imported": {
        "run": "import tasks.other\ndef run(): pass",
        "other": "import logging\nlog = logging.getLogger('«a|b»')\ndef f(): return 1",
    },
    "a function whose name is that of an argument": {
        "run": "def train(): return «1|2»\ndef run(train, other=lambda train: train): return train + 1"
    },
    "a function whose name is that of a local variable": {
        "run": "def f(): return «1|2»\ndef run():\n  for f in ():\n    return [f for f in f]"
    },
    "a comment": {"run": "def run(): return 1  # «one|two»"},
    "a docstring": {"run": "def run():\n  '''«One|Two».'''\n  return 1"},
    "no docstring": {"run": "'''«One|»'''\nA = 1\n'''«a|»'''\ndef run():\n  «'''One.'''|»\n  return A"},
    "formatting": {"run": "def run(a,\n«        |  »b): return «'a'|\"a\"», «(1)|1»«|,»\n"},
    "the order of imports": {
        "run": "«import os, sys|import sys\nimport os»\ndef run(): return os.environ, sys.argv"
    },
    "where an import stands": {
        "run": "«from tasks.other import f|»\ndef run():\n  «|from tasks.other import f»\n  return f()",
        "other": "def f(): return 1",
    },
    "a quoted annotation": {"run": "def run(a: «int|'int'»): return a"},
    "the name of a module": {
        "run": "from tasks.«other|another» import f\ndef run(): return f()",
        "other": "def f(): return 1",
        "another": "def f(): return 1",
    },
    "the name of a module that stands before a name": {
        "run": "from tasks import «other|another»\ndef run(): return «other|another».f()",
        "other": "def f(): return g()\ndef g(): return 1",
        "another": "def f(): return g()\ndef g(): return 1",
    },
    "where a module is": {
        "run": "import tasks.«other|deep.other»\ndef run(): return tasks.«other|deep.other».A.x",
        "other": "class A: x = 1",
        "deep/other": "class A: x = 1",
    },
    "the file that a definition is in": {
        "run": "«def f(): return g()|from tasks.other import f»\ndef g(): return 1\ndef run(): return f()",
        "other": "def f(): return g()\ndef g(): return 1",
    },
    "by which package a name comes": {
        "run": "from tasks.deep«|.inner» import f\ndef run(): return f()",
        "deep/inner": "def f(): return 1",
        "deep/__init__": "from .inner import f",
    },
}


def reached(folder: Path, tree: dict[str, str], side: int) -> Reach:
    """What `run` reaches in the tree before (1) or after (2) the edit."""
    for name, text in tree.items():
        path = folder / "tasks" / (name if "." in name else f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(re.sub(r"«(.*?)\|(.*?)»", rf"\{side}", text, flags=re.DOTALL))
        for package in (path.parent, folder / "tasks"):
            (package / "__init__.py").touch()
    return reach(Code(folder), ["tasks.run.run"])


@pytest.mark.parametrize("case", REACHED)
def test_an_edit_of_what_is_reached_makes_another_key(tmp_path: Path, case: str) -> None:
    before, after = (reached(tmp_path / str(side), REACHED[case], side) for side in (1, 2))
    assert before.digest != after.digest


@pytest.mark.parametrize("case", NOT_REACHED)
def test_an_edit_of_anything_else_makes_none(tmp_path: Path, case: str) -> None:
    before, after = (reached(tmp_path / str(side), NOT_REACHED[case], side) for side in (1, 2))
    assert before.digest == after.digest
