"""What imports cost is not paid for what nobody uses."""

import gc
import subprocess
import sys

from tasks.system.imports import importing


def test_nothing_is_collected_within_and_what_is_there_at_the_end_never_is() -> None:
    before = gc.get_freeze_count()
    try:
        with importing():
            assert not gc.isenabled()
            with importing():
                pass
            assert not gc.isenabled()  # the outer one still imports
        assert gc.isenabled() and gc.get_freeze_count() > before
    finally:
        gc.unfreeze()


def test_prefects_checks_of_forms_do_without_the_grammar_that_costs_a_second() -> None:
    code = (
        "import sys\nfrom tasks.system.imports import without_grammars\nwithout_grammars()\n"
        "import jsonschema\nprint('lark' in sys.modules, 'uri' in jsonschema.FormatChecker.checkers)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "True"]
