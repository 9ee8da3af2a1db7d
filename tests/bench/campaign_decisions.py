"""Parts of the campaign: what is decided. Promoters that race and die, and bundles that somebody has altered."""

import base64
import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from campaign import Case, Part, Tried, Try, Wrong
from campaign_checkpoints import in_a_fork

PROMOTERS, MOVES, ROUNDS = 8, 25, 5  # 8 × 125 in all, in five ledgers

_DEATHS = 0.15
"""Of all moves: the share that is cut off somewhere by SIGKILL."""

_LONGEST_LIFE = 2.0  # seconds from the move's beginning, with its wait for the others

MUTATIONS, AT_ONCE = 10_000, 100


class Moved(NamedTuple):
    """A move or a look, as its promoter has it: `said` is "promoted", "told" (another came first), the champion seen, or nothing: it died."""

    version: int
    began: float
    ended: float
    said: str


@contextmanager
def open_promoters(scratch: Path) -> Iterator[Try]:
    """Every process is forked from this one, which has imported all and opened nothing."""
    import promotions  # noqa: F401

    from tasks.promotion import champion  # noqa: F401

    def attempt(case: Case) -> Tried:
        home = scratch / f"home-{case.number}"
        home.mkdir(mode=0o700)
        os.environ["SLIPWAY_HOME"] = str(home)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        if trouble := in_a_fork(_register):
            raise AssertionError(trouble)
        deaths = _race(home, case)
        history = [Moved(*json.loads(line)) for path in home.glob("history-*") for line in _whole_lines(path)]
        told = Counter(moved.said for moved in history if moved.version)
        ends = json.loads(in_a_fork(_ends))
        check_history(history, ends)
        shutil.rmtree(home)
        figures = {
            "promoters killed a round": float(deaths),
            "told that another came first": float(told["told"]),
        }
        return Tried("whole, in order, each once", tries=PROMOTERS * MOVES, figures=figures)

    yield attempt


def _register() -> str:
    import promotions

    from tasks.promotion.champion import promote
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings

    registry = Registry(load_settings())
    first, *_ = promotions.register_bare(registry, "raced", PROMOTERS * MOVES + 1)
    promote(registry, first, against=None, why="the first")
    return ""


def _race(home: Path, case: Case) -> int:
    """Eight promoters, each with versions of its own to promote; one that is killed is followed by another. How many were."""
    context, deaths = multiprocessing.get_context("fork"), 0
    left = {number: list(range(2 + number * MOVES, 2 + (number + 1) * MOVES)) for number in range(PROMOTERS)}
    running: dict[int, multiprocessing.process.BaseProcess] = {}
    started = 0
    while any(left.values()) or running:
        for number, versions in left.items():
            if versions and number not in running:
                seed, started = f"{case.seed} {case.number} {started}", started + 1
                running[number] = context.Process(target=_promoter, args=(home, number, versions, seed))
                running[number].start()
        time.sleep(0.05)
        for number, process in [*running.items()]:
            if process.is_alive():
                continue
            del running[number]
            begun = {Moved(*json.loads(line)).version for line in _whole_lines(home / f"history-{number}")}
            left[number] = [version for version in left[number] if version not in begun]
            if process.exitcode == -signal.SIGKILL:
                deaths += 1
            elif process.exitcode or left[number]:
                raise Wrong(
                    f"promoter {number} ended with {process.exitcode}: {(home / f'error-{number}').read_text()}"
                )
    return deaths


def _promoter(home: Path, number: int, versions: list[int], seed: str) -> None:
    """Promote each, against the champion that is seen, until it is; some are cut off by a kill, at any moment."""
    import traceback

    from tasks.promotion.champion import model_lock, promote
    from tasks.promotion.ledger import StaleError
    from tasks.records import Version
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings

    dice, settings = random.Random(seed), load_settings()
    registry = Registry(settings)
    with (home / f"history-{number}").open("ab", buffering=0) as history:

        def note(version: int, began: float, ended: float, said: str) -> None:
            history.write(f"{json.dumps([version, began, ended, said])}\n".encode())

        try:
            for version in versions:
                dies_after = dice.uniform(0, _LONGEST_LIFE) if dice.random() < _DEATHS else None
                said = "told"
                while said == "told":
                    began = time.monotonic()
                    against = registry.number("raced", "champion")
                    note(0, began, time.monotonic(), str(against))
                    began = time.monotonic()
                    note(version, began, 0.0, "")
                    if dies_after is not None:
                        threading.Timer(dies_after, os.kill, (os.getpid(), signal.SIGKILL)).start()
                        dies_after = None
                    try:
                        with model_lock(settings, "raced", 600):
                            taken = Version(model="raced", version=version, sha256="", run_id="")
                            promote(
                                registry,
                                taken,
                                against=against,
                                why=f"move {version}",
                                who=f"promoter {number}",
                            )
                        said = "promoted"
                    except StaleError:
                        said = "told"
                    note(version, began, time.monotonic(), said)
        except BaseException:
            (home / f"error-{number}").write_text(traceback.format_exc()[-3000:])
            os._exit(1)
    os._exit(0)


def _whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def _ends() -> str:
    """What the registry says when all is quiet."""
    import promotions

    from tasks.promotion.champion import model_lock, repair
    from tasks.promotion.ledger import read_ledger
    from tasks.registry.registry import Registry
    from tasks.settings import load_settings

    registry = Registry(load_settings())
    with model_lock(registry.settings, "raced"):
        repair(registry, "raced")
    ledger = read_ledger(registry, "raced", whole=True)
    with contextlib.suppress(AssertionError):
        promotions.check(registry, read_ledger(registry, "raced"))
        return json.dumps(
            {
                "entries": [[e.action, e.from_version, e.to_version] for e in ledger.entries],
                "problems": ledger.problems,
            }
        )
    return json.dumps(
        {"entries": [], "problems": ["what must hold of a registry at rest does not", *ledger.problems]}
    )


def check_history(history: list[Moved], ends: dict[str, Any]) -> None:
    """Raise Wrong unless the ledger is an order of all moves that everybody could have seen: linearizable."""
    if ends["problems"]:
        raise Wrong(f"the ledger is not whole: {ends['problems']}")
    entries = [tuple(entry) for entry in ends["entries"]]
    for (_, _, before), (action, start, _) in zip(entries, entries[1:], strict=False):
        if action != "promote" or start != before:
            raise Wrong(f"a move starts from {start} where {before} served, or is no promotion: {action}")
    place = {entry[2]: number for number, entry in enumerate(entries)}
    if len(place) != len(entries):
        raise Wrong("a move is in the ledger twice")
    promoted = [moved for moved in history if moved.said == "promoted"]
    if lost := [moved.version for moved in promoted if moved.version not in place]:
        raise Wrong(f"promoted, and not in the ledger: {lost}")
    last = {moved.version: moved for moved in history if moved.version}
    if never := [v for v in place if v != 1 and (v not in last or last[v].said == "told")]:
        raise Wrong(f"in the ledger, and never promoted: {never}")
    for earlier in promoted:
        for later in history:
            if (
                later.version in place
                and later.began > earlier.ended
                and place[later.version] < place[earlier.version]
            ):
                raise Wrong(
                    f"v{later.version} was begun when v{earlier.version} was promoted, and stands before it"
                )
    _check_looks(history, entries, place)


def _check_looks(history: list[Moved], entries: list[tuple[Any, ...]], place: dict[int, int]) -> None:
    """Who looked saw a champion that stood at some moment of the look."""
    begun: dict[int, float] = {}
    for moved in history:
        if moved.version:
            begun[moved.version] = min(begun.get(moved.version, moved.began), moved.began)
    done = [(moved.ended, place[moved.version]) for moved in history if moved.said == "promoted"]
    for look in (moved for moved in history if not moved.version):
        least = max((at for ended, at in done if ended < look.began), default=0)
        most = max((place[v] for v, began in begun.items() if v in place and began < look.ended), default=0)
        if look.said not in {str(entry[2]) for entry in entries[least : most + 1]}:
            raise Wrong(
                f"somebody saw champion v{look.said}, where it could have been one of entries {least} to {most}"
            )


@contextmanager
def open_bundles(scratch: Path) -> Iterator[Try]:
    """A version's folder with its permit, another's to mix it with, and one whose permit was withdrawn; a case alters copies."""
    home = scratch / "home"
    os.environ["SLIPWAY_HOME"] = str(home)
    bundles = [
        Bundle.make(scratch / name, name, weight) for name, weight in (("digits", 2.0), ("glosses", 3.0))
    ]

    def attempt(case: Case) -> Tried:
        dice, same = case.dice, 0
        for number in range(AT_ONCE):
            folder, permit = scratch / "altered" / "digits", bundles[0].permit
            shutil.rmtree(folder.parent, ignore_errors=True)
            shutil.copytree(bundles[0].folder, folder)
            permit, what = alter(folder, permit, bundles, dice)
            same += bundles[0].refuses(folder, permit, f"{what} (number {number})")
        return Tried(
            "refused, or the very files and permit that were signed",
            AT_ONCE,
            {"of a hundred: still the very ones": float(same)},
        )

    yield attempt


class Bundle(NamedTuple):
    """A sealed folder and its permits."""

    folder: Path
    permit: str
    withdrawn: str
    model: str
    digest: str

    @classmethod
    def make(cls, folder: Path, model: str, weight: float) -> "Bundle":
        import datetime

        import promotions

        from tasks.proof.permit import Permit, issue
        from tasks.system.files import sha256_of
        from tasks.system.signing import private_key, public_key

        folder.mkdir()
        promotions.seal_folder(folder, model, weight)
        public_key()
        usual = dict(
            model=model, version=3, run_id="0" * 32, model_sha256=sha256_of(folder / "model.onnx"), evidence_sha256=sha256_of(folder / "evidence.json"),
            policy_sha256="a" * 64, basis="gate", at=datetime.datetime(2026, 11, 26, tzinfo=datetime.UTC), by="the gate", why="it passed",
        )  # fmt: skip
        permit, withdrawn = (
            issue(Permit.model_validate({**usual, "granted": granted, "serial": serial}), private_key())
            for serial, granted in ((1, True), (2, False))
        )
        return cls(folder, permit, withdrawn, model, sha256_of(folder / "model.onnx"))

    def refuses(self, folder: Path, permit: str, what: str) -> bool:
        """False when the altered bundle is refused, True when it is in effect the one that was signed; raises Wrong when it is neither."""
        from infra.serving.lifecycle.inspection import InspectionRequest
        from infra.serving.lifecycle.inspector import inspect_version
        from tasks.proof.permit import Permit, PermitError
        from tasks.system.signing import public_key

        request = InspectionRequest(
            folder=folder, model=self.model, key=public_key(), parse=False, permits=(permit,)
        )
        result = inspect_version(request)
        if result.passing or (result.refused or "").startswith("inspection failed"):
            raise Wrong(f"{what}: {result.refused}")
        if result.refused is not None:
            return False
        (said,) = result.permits
        try:
            if not isinstance(said, Permit):
                return False
            said.check(self.model, 3, "0" * 32, result.digest or "")
        except PermitError:
            return False
        if said.serial != 1 or contents(folder) != contents(self.folder):
            raise Wrong(f"{what} was accepted")
        return True


def contents(folder: Path) -> dict[str, bytes]:
    """Of all that is signed; MLflow adds a file of its own when it downloads, which is ignored."""
    ignored = ("evidence.sig", "registered_model_meta")
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ignored
    }


def alter(folder: Path, permit: str, bundles: list[Bundle], dice: random.Random) -> tuple[str, str]:
    """Alter one thing of a bundle: bytes, JSON, a whole file, a name, what is signed, or the permit. The permit, and what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = dice.choice(files)
    kind = dice.choice(("bytes", "bytes", "bytes", "json", "payload", "file", "tree", "permit", "permit"))
    if kind == "bytes":
        path.write_bytes(altered_bytes(path.read_bytes(), dice))
    elif kind == "json":
        path = dice.choice([each for each in files if each.suffix in (".json", ".sig")])
        path.write_text(json.dumps(altered_json(json.loads(path.read_bytes()), dice)))
    elif kind == "payload":
        path = folder / "evidence.sig"
        path.write_text(altered_payload(path.read_text(), "dsseEnvelope", dice))
    elif kind == "file":
        shutil.copyfile(bundles[1].folder / path.relative_to(folder), path)
    elif kind == "tree":
        _alter_tree(folder, path, dice)
    elif kind == "permit":
        texts = (permit, permit, bundles[0].withdrawn, bundles[1].permit)
        permit = dice.choice(texts)
        way = dice.randrange(4)
        if way == 0:
            permit = altered_bytes(permit.encode(), dice).decode(errors="replace")
        elif way == 1:
            permit = json.dumps(altered_json(json.loads(permit), dice))
        elif way == 2:
            permit = altered_payload(permit, "", dice)
        elif permit == texts[0]:
            permit = texts[dice.randrange(2, 4)]
    return permit, f"{kind} of {'the permit' if kind == 'permit' else path.name}"


def altered_bytes(content: bytes, dice: random.Random) -> bytes:
    """A bit flipped, a piece cut out, doubled or put in, or all from somewhere on gone."""
    data, at = bytearray(content), dice.randrange(max(1, len(content)))
    size, way = dice.randint(1, 40), dice.randrange(5)
    if way == 0 and data:
        data[at] ^= 1 << dice.randrange(8)
    elif way == 1:
        del data[at : at + size]
    elif way == 2:
        data[at:at] = data[at : at + size]
    elif way == 3:
        data[at:at] = dice.randbytes(size)
    else:
        del data[at:]
    return bytes(data)


def altered_json(value: Any, dice: random.Random) -> Any:
    """One value of the tree is another one, or gone, or there twice."""
    places = list(_places(value))
    if not places:
        return dice.choice((None, [], "x", 7))
    owner, key = dice.choice(places)
    old = owner[key]
    way = dice.randrange(4)
    if way == 0 and isinstance(owner, dict):
        del owner[key]
    elif way == 1:
        owner[key] = [old, old]
    elif way == 2 and isinstance(old, str) and old:
        at = dice.randrange(len(old))
        owner[key] = old[:at] + dice.choice("0aZ_ é\\") + old[at + 1 :]
    else:
        owner[key] = dice.choice((None, True, False, 0, -1, 1.5, "", "pass", [], {}, "PASSED", "0" * 64))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


def altered_payload(text: str, inside: str, dice: random.Random) -> str:
    """What is signed is another thing, and the signature as it was."""
    content = json.loads(text)
    envelope = content[inside] if inside else content
    statement = altered_json(json.loads(base64.b64decode(envelope["payload"])), dice)
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(content)


def _alter_tree(folder: Path, path: Path, dice: random.Random) -> None:
    way = dice.randrange(5)
    if way == 0:
        path.unlink()
    elif way == 1:
        path.rename(path.with_name(dice.choice((f"{path.name}.bak", path.name.upper(), f".{path.name}"))))
    elif way == 2:
        name = dice.choice((".gitignore", "code/x.py", "model.onnx.data", ".git/config", "evidence.json.tmp"))
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(dice.randbytes(9))
    elif way == 3:
        away = folder.parent / f"away-{path.name}"
        path.rename(away)
        path.symlink_to(away)
    else:
        path.write_bytes(b"")


PARTS = (
    Part(
        "promoters",
        f"{PROMOTERS} promoters, {MOVES * ROUNDS} moves each, some killed amid theirs",
        ROUNDS,
        open_promoters,
        PROMOTERS * MOVES,
    ),
    Part(
        "bundles",
        f"{MUTATIONS:,} alterations of a signed bundle and its permit",
        MUTATIONS // AT_ONCE,
        open_bundles,
        AT_ONCE,
    ),
)
