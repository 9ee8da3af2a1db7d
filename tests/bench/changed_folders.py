"""Attested folders, and what may become of one on its way: by chance, and by somebody who makes its list of sums anew."""

import datetime
import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from page_of_folder import shell, steps
from stated import sealed

from tasks.attestation.bundle import ATTESTATIONS, Signers
from tasks.attestation.folder import ENTRY, PAGE, SUMS, write_folder
from tasks.proof.evidence import EVIDENCE, Evidence, verify
from tasks.proof.permit import Permit, issue
from tasks.system.envelope import open_envelope
from tasks.system.files import sha256_of
from tasks.system.key_chain import FIRST, Change, claimed, parts
from tasks.system.keyring import keep
from tasks.system.signers import fingerprint, load, public_pem
from tasks.system.signing import (
    SIGNATURE,
    create_key_pair,
    keyring,
    keys_folder,
    private_key,
    public_key,
    sign_folder,
)


def permit_of(folder: Path, evidence: Evidence, version: int, entry: str) -> str:
    permit = Permit(
        model=evidence.model, version=version, run_id=evidence.run_id, model_sha256=evidence.model_sha256,
        evidence_sha256=sha256_of(folder / EVIDENCE), policy_sha256="a" * 64, statements_sha256=sha256_of(folder / ATTESTATIONS),
        entry_sha256=hashlib.sha256(entry.encode()).hexdigest(), granted=True, basis="gate", serial=version,
        at=datetime.datetime.now(datetime.UTC), by="the gate", why="better",
    )  # fmt: skip
    return issue(permit, private_key())


class Proved:
    """A version that was let through, to be attested by whatever key signs then."""

    def __init__(self, folder: Path, version: int, weight: float = 2.0) -> None:
        self.folder, self.version, self.entry = folder, version, f'{{"sequence":{version}}}'
        self.evidence = verify(sealed(folder, weight=weight))
        self.permit = permit_of(folder, self.evidence, version, self.entry)

    def attest(self, out: Path, changes: Mapping[str, str] | None = None) -> Path:
        write_folder(out, self.folder, self.evidence, self.version, self.permit, self.entry, changes)
        return out

    @property
    def signed(self) -> set[str]:
        """What a hand-over lists of it."""
        signers = Signers(keyring(), "")
        open_envelope(json.loads(self.permit), signers.fits)
        return {sha256_of(self.folder / EVIDENCE), *(digest for _, digest in signers.signed)}


def handed_over(held: set[str]) -> dict[str, str]:
    """This home's key to a new one, as `slipway keys rotate` does at a registry; what that claims."""
    private, new = private_key(), keys_folder() / "new.pem"
    create_key_pair(new, keys_folder() / "new-public.pem")
    keys = [load(str(path)) for path in (private, new)]
    change = Change(
        sequence=1, at=datetime.datetime.now(datetime.UTC), action="rotate", ended=public_pem(keys[0]), key=public_pem(keys[1]),
        who="ada", why="a year old", holds=parts(held)[0], previous=FIRST,
    )  # fmt: skip
    claims = dict([claimed(change, 1, *keys)]) | parts(held)[1]
    keep(keys_folder(), "a registry", claims, public_key())
    new.replace(private)
    (keys_folder() / "new-public.pem").replace(keys_folder() / "public.pem")
    return claims


class Folders:
    """One folder, another version's by the same key, and one that somebody made and signed with a key of their own.

    `rotated`: both versions were signed by a key that was handed over since.
    """

    def __init__(self, scratch: Path, *, rotated: bool = False) -> None:
        os.environ["SLIPWAY_HOME"] = str(scratch / "other-home")
        self.forged = Proved(scratch / "forged-v4", 4).attest(scratch / "forged")
        os.environ["SLIPWAY_HOME"] = str(scratch / "home")
        versions = Proved(scratch / "folder-v4", 4), Proved(scratch / "other-v5", 5, weight=3.0)
        changes = handed_over(versions[0].signed | versions[1].signed) if rotated else None
        names = ("folder", "other")
        self.folder, self.other = (
            v.attest(scratch / n, changes) for v, n in zip(versions, names, strict=True)
        )
        self.private = private_key()
        self.key = fingerprint(public_pem(load(str(self.private))))
        self.page = (self.folder / PAGE).read_text()
        self.files = sorted(
            p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()
        )

    def changed(self, into: Path, dice: random.Random) -> str:
        """Write a folder that is not the one that was handed over; what was done to it."""
        anew = dice.random() < 0.5
        while True:
            shutil.rmtree(into, ignore_errors=True)
            shutil.copytree(self.folder, into)
            kind = dice.choice([*_CHANGES])
            _CHANGES[kind](self, into, dice, anew)
            if anew:
                (into / SUMS).unlink(missing_ok=True)
                shell(_sums(self.page), into, "")
            # all of the other version's files are its folder, which is as good as this one
            if _contents(into) not in (_contents(self.folder), _contents(self.other)):
                return f"{kind}, {'the sums made anew' if anew else 'by chance'}"

    def one(self, dice: random.Random, anew: bool) -> str:
        """A file. Whoever makes the sums anew may spell the outermost signature otherwise: it stays the signature that it is."""
        return dice.choice([name for name in self.files if not anew or name not in (SIGNATURE, SUMS)])

    def flip(self, into: Path, dice: random.Random, anew: bool) -> None:
        path = into / self.one(dice, anew)
        content = bytearray(path.read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        path.write_bytes(content)

    def cut(self, into: Path, dice: random.Random, anew: bool) -> None:
        path = into / self.one(dice, anew)
        path.write_bytes(path.read_bytes()[: dice.randrange(path.stat().st_size)])

    def insert(self, into: Path, dice: random.Random, anew: bool) -> None:
        path = into / self.one(dice, anew)
        content, more = path.read_bytes(), dice.choice([b" ", b"\n", b"\0", b"}", dice.randbytes(9)])
        at = dice.randrange(len(content) + 1)
        path.write_bytes(content[:at] + more + content[at:])

    def remove(self, into: Path, dice: random.Random, anew: bool) -> None:
        (into / self.one(dice, anew)).unlink()

    def add(self, into: Path, dice: random.Random, anew: bool) -> None:
        name = dice.choice([".gitignore", ".gitattributes", "model/.gitignore", "model/x", "model/SHA256SUMS", "x", ".git/config", "model.onnx", "model/evidence.sig.bak"])  # fmt: skip
        path = into / name
        path.parent.mkdir(exist_ok=True)
        if dice.random() < 0.3:
            path.symlink_to("model.onnx" if "model/" in name else "model/model.onnx")
        else:
            path.write_bytes(dice.randbytes(dice.randrange(3)))

    def rename(self, into: Path, dice: random.Random, anew: bool) -> None:
        path = into / self.one(dice, anew)
        path.rename(into / dice.choice([f"{path.name}.old", f"model/{path.name}.old", self.one(dice, anew)]))

    def of_another_version(self, into: Path, dice: random.Random, anew: bool) -> None:
        for name in dice.sample(self.files, dice.randint(1, len(self.files) - 1)):
            if not anew or name != SIGNATURE:
                shutil.copy(self.other / name, into / name)

    def of_another_key(self, into: Path, dice: random.Random, anew: bool) -> None:
        files = [name for name in self.files if (self.forged / name).exists()]
        for name in dice.sample(files, dice.randint(1, len(files))):
            shutil.copy(self.forged / name, into / name)

    def lines(self, into: Path, dice: random.Random, anew: bool) -> None:
        path = into / ATTESTATIONS
        lines = path.read_bytes().splitlines(keepends=True)
        others = [*lines, *((self.other / ATTESTATIONS).read_bytes()).splitlines(keepends=True)]
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(lines))
            lines[at : at + dice.randint(0, 1)] = dice.sample(others, dice.randint(0, 2))
            lines = lines or [b""]
        path.write_bytes(b"".join(lines))

    def mixed(self, into: Path, dice: random.Random, anew: bool) -> None:
        """By the owner of the key, who signs what does not belong together."""
        what = dice.choice(["model", ATTESTATIONS, ENTRY, "a line less", "two lines exchanged"])
        path = into / ATTESTATIONS
        lines = path.read_bytes().splitlines(keepends=True)
        one, two = sorted(
            dice.sample(range(len(lines) - 1), 2)
        )  # without the last, the permit, nobody has let it serve
        if what == "model":
            shutil.copytree(self.other / "model", into / "model", dirs_exist_ok=True)
        elif what == "a line less":
            path.write_bytes(b"".join(lines[:one] + lines[one + 1 :]))
        elif what == "two lines exchanged":
            lines[one], lines[two] = lines[two], lines[one]
            path.write_bytes(b"".join(lines))
        else:
            shutil.copy(self.other / what, into / what)
        (into / SUMS).unlink()
        sign_folder(into, self.private)
        shell(_sums(self.page), into, "")


_CHANGES: dict[str, Callable[[Folders, Path, random.Random, bool], None]] = {
    "a bit": Folders.flip,
    "cut": Folders.cut,
    "bytes more": Folders.insert,
    "a file less": Folders.remove,
    "a file more": Folders.add,
    "a file renamed": Folders.rename,
    "files of another version": Folders.of_another_version,
    "files of another key": Folders.of_another_key,
    "other lines": Folders.lines,
    "mixed and signed": Folders.mixed,
}


def _contents(folder: Path) -> dict[str, bytes | str]:
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def _sums(page: str) -> str:
    """The page's own command, writing what it compares with."""
    return steps(page)[3].replace("diff SHA256SUMS -", "cat > ../sums && mv ../sums SHA256SUMS")
