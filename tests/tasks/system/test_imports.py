"""What imports cost is not paid for what nobody uses."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.system.imports import importing


def said(code: str) -> list[str]:
    """By a process of its own, which has imported nothing yet."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_nothing_is_collected_within() -> None:
    with importing():
        assert not gc.isenabled()
        with importing():
            pass
        assert not gc.isenabled()  # the outer one still imports
    assert gc.isenabled()


def test_what_a_process_has_is_collected_again_unless_it_begins_and_then_it_is_left_once() -> None:
    code = (
        "import gc\nfrom tasks.system.imports import importing\n"
        "class Dropped: pass\n"
        "def drop():\n    dropped = Dropped(); dropped.itself = dropped\n"
        "def left():\n    gc.collect(); return sum(isinstance(each, Dropped) for each in gc.get_objects())\n"
        "with importing(): drop()\n"
        "print(gc.get_freeze_count(), left())\n"
        "with importing(for_good=True): pass\n"
        "first = gc.get_freeze_count()\n"
        "with importing(for_good=True): drop()\n"
        "print(first > 1000, gc.get_freeze_count() <= first, left(), gc.get_threshold()[0])"
    )
    assert said(code) == ["0", "0", "True", "True", "0", "10000"]


@pytest.mark.slow
def test_prefects_checks_of_forms_do_without_the_grammar_that_costs_a_second_and_others_have_it() -> None:
    code = (
        "import sys\nfrom tasks.system.imports import import_less\nimport_less()\nimport_less()\n"
        "import jsonschema\nprint('lark' in sys.modules, 'uri' in jsonschema.FormatChecker.checkers)\n"
        "import rfc3987_syntax\nprint(rfc3987_syntax.is_valid_syntax('iri', 'https://example.org/ü'))"
    )
    assert said(code) == ["False", "True", "True"]


@pytest.mark.slow
def test_signing_with_a_key_imports_nothing_of_sigstore_and_who_asks_for_it_has_it(tmp_path: Path) -> None:
    (tmp_path / "signed").mkdir()
    (tmp_path / "signed" / "file").write_text("one")
    code = (
        "import sys\nfrom pathlib import Path\nfrom tasks.system import signing\n"
        f"home = Path({str(tmp_path)!r})\nsigning.create_key_pair(home / 'key', home / 'public')\n"
        "signing.sign_folder(home / 'signed', home / 'key')\n"
        "signing.check_folder(home / 'signed', home / 'public')\n"
        "print('sigstore' in sys.modules)\n"
        "from model_signing import signing\nprint(callable(signing.sigstore.Signer), 'sigstore' in sys.modules)"
    )
    assert said(code) == ["False", "True", "True"]


def test_what_was_imported_is_not_looked_through_once_more_at_the_end() -> None:
    code = (
        "import atexit, gc\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 1000))\n"
        "import tasks.system.imports\n"
        "print(gc.get_freeze_count())"
    )
    assert said(code) == ["0", "True"]
