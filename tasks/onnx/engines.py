"""The one interface below everything that runs a graph, and the one list of what stands behind it. Light to import."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tasks.engines import ALWAYS, NAMES, Engine
from tasks.errors import UserError
from tasks.onnx.session import Session, open_session
from tasks.system.libraries import installed
from tasks.system.processor import first_of

SUPPORT = {
    "bf16": ("amx_bf16", "avx512_bf16", "bf16"),
    "int8": ("amx_int8", "avx512_vnni", "avx_vnni", "asimddp"),
    "fp32": ("avx512f", "avx2", "asimd"),
}
"""By precision what a processor computes it with, the fastest first."""


class Kind(NamedTuple):
    """What is known of an engine without importing it."""

    title: str
    package: str
    beside: tuple[str, ...]
    """What else its extra brings and it needs."""
    precisions: tuple[str, ...]
    """Of what is not in 8 bits, the one that it is tried in first; none: as the file has it."""


_KINDS = dict(
    zip(
        NAMES,
        (
            Kind("ONNX Runtime", "onnxruntime", (), ()),
            Kind("OpenVINO", "openvino", ("onnx",), ("bf16", "fp32")),
        ),
        strict=True,
    )
)


def open_in(engine: Engine, model: Path | bytes, threads: int = 1) -> Session:
    """A session in the engine, with the server's options. Raises UserError when that cannot be had here, as `open_session`."""
    if engine.is_always_there:
        session: Session = open_session(model, threads)
        return session
    if (reason := missing(engine)) is not None:
        raise UserError(reason)
    from tasks.onnx.openvino_session import OpenVinoSession

    content = model if isinstance(model, bytes) else model.read_bytes()
    return OpenVinoSession(content, engine, threads)


def plain_of(session: Session) -> Session:
    """ONNX Runtime's session on the same bytes, which every other one has beside it."""
    plain: Session = getattr(session, "plain", session)
    return plain


def ran_in(session: Session) -> Counter[str]:
    """How many rows each engine has run of what the session was asked, by its name; it goes on counting. Empty of ONNX Runtime's own."""
    ran: Counter[str] | None = getattr(session, "ran", None)
    return Counter() if ran is None else ran


def installed_here(engine: Engine) -> Engine:
    """With the version that runs it on this machine, whichever it was proved in."""
    import onnxruntime

    always = engine.is_always_there  # which says it itself: packages are looked up where there are others
    return engine.model_copy(
        update={"version": onnxruntime.__version__ if always else installed(_kind(engine.name).package)}
    )


def title(engine: Engine) -> str:
    """`OpenVINO 2026.4.1 in bf16 from 8 rows on`."""
    return str(engine).replace(
        engine.name, _KINDS[engine.name].title if engine.name in _KINDS else engine.name, 1
    )


def missing(engine: Engine) -> str | None:
    """Why this machine does not run it, in a sentence, or None: the package, or what the processor has to have."""
    try:
        kind = _kind(engine.name)
    except UserError as error:
        return str(error)
    for package in (kind.package, *kind.beside):
        if installed(package) is None:
            lacks = "" if package == kind.package else f" with the package {package}"
            return f"{kind.title} is not installed{lacks}: pip install 'slipway[{kind.package}]'."
    if engine.numbers not in (None, *kind.precisions):
        choices = (
            f"choose {' or '.join(kind.precisions)}" if kind.precisions else "it computes as the file has it"
        )
        return f"{kind.title} has no precision {engine.numbers!r}: {choices}."
    return _lacking(engine, kind)


def _lacking(engine: Engine, kind: Kind) -> str | None:
    """What the processor has not of what the engine rests on, in a sentence."""
    lacking = [name for name in engine.instructions if first_of([name]) is None]
    if lacking:
        return f"{kind.title} in {engine.precision} rests on {' and '.join(lacking)}, which this processor has not."
    needed = () if engine.instructions or engine.numbers in (None, "fp32") else SUPPORT[str(engine.numbers)]
    if needed and first_of(needed) is None:
        return f"{kind.title} in {engine.numbers} needs {' or '.join(needed)}, and this processor has none of them."
    return None


def tried(choices: Sequence[str] | None) -> tuple[Engine, ...]:
    """The engines besides ONNX Runtime that candidates are tried in; of None those that are installed.

    Raises UserError for one that was named and that there is not, that is not installed, or whose precision this processor has not.
    """
    names = (name for name in _KINDS if choices is None and missing(Engine(name=name)) is None)
    engines = [_with_precision(Engine.parse(choice)) for choice in (names if choices is None else choices)]
    for engine in engines:
        if (reason := missing(engine)) is not None:
            raise UserError(f"engines: {reason}")
        if engine.rows > 1:
            raise UserError(
                f"engines: {engine.choice}: from how many rows on is measured; leave /{engine.rows} out."
            )
    return tuple(dict.fromkeys(engine for engine in engines if not engine.is_always_there))


def versions(choices: Sequence[str] | None) -> dict[str, str]:
    """What a run's result depends on besides the always: the packages of the engines that it tries."""
    kinds = {name: kind for name, kind in _KINDS.items() if name != ALWAYS}
    if choices is not None:
        kinds = {
            name: kinds[name] for name in (Engine.parse(choice).name for choice in choices) if name in kinds
        }
    return {name: version for name, kind in kinds.items() if (version := installed(kind.package)) is not None}


def described(engine: Engine, precision: str) -> Engine:
    """The engine as evidence names it, for a file whose own numbers are of this precision: version, precision, instruction sets."""
    numbers = [engine.numbers] if engine.numbers else []
    whole = precision if not numbers else "+".join([precision, *numbers] if precision == "int8" else numbers)
    found = (first_of(SUPPORT[part]) for part in whole.split("+") if part in SUPPORT)
    return engine.model_copy(
        update={
            "version": installed(_kind(engine.name).package),
            "precision": whole,
            "instructions": tuple(name for name in found if name is not None),
        }
    )


def _with_precision(engine: Engine) -> Engine:
    """As it is installed, and in the fastest that this processor has, where none was named."""
    kind = _kind(engine.name)
    engine = engine.model_copy(update={"version": installed(kind.package)})
    precisions = kind.precisions
    if engine.precision is not None or not precisions:
        return engine
    there = [numbers for numbers in precisions if numbers == "fp32" or first_of(SUPPORT[numbers]) is not None]
    return engine.model_copy(update={"precision": there[0]})


def _kind(name: str) -> Kind:
    if name not in _KINDS:
        raise UserError(f"There is no engine {name!r}: choose among {', '.join(_KINDS)}.")
    return _KINDS[name]
