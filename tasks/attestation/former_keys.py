"""Keys that signed what is handed over and sign no longer: each as a file, and the signed changes that lead from them to the key in force."""

import json
from collections.abc import Mapping, Set

from tasks.errors import UserError
from tasks.system.frozen import Frozen
from tasks.system.key_chain import Inventoried, current, read_chain
from tasks.system.keyring import Keyring, states
from tasks.system.signers import fingerprint

KEYS, CHANGES = "keys", "key-changes.json"


class FormerKeys(Frozen):
    """The names of files by the fingerprints of the keys in them, and every file's content; nothing where one key signed all."""

    names: dict[str, str] = {}
    files: dict[str, bytes] = {}


def former_keys(
    in_force: str, listed: Set[tuple[str, str]], named: Set[str], changes: Mapping[str, str], where: str
) -> FormerKeys:
    """`listed`: fingerprints of keys with digests that an inventory has to list; `named`: of keys that signed what inventories do not list.

    Raises UserError for a key that the record of `changes` does not lead from to the one `in_force`, a PEM text.
    """
    signed = {name for name, _ in listed} | named
    if not signed - {fingerprint(in_force)}:
        return FormerKeys()
    chain = read_chain(changes, {in_force})
    known = Keyring(states(in_force, chain))
    names, files = {}, {CHANGES: _written(chain)}
    for name in sorted(signed - {fingerprint(in_force)}):
        state = known.ended(name)
        digests = {digest for key, digest in listed if key == name}
        if current(chain) != in_force or state is None or any(map(state.refusal, digests)):
            raise UserError(
                f"{where} is signed by the key {name[:12]}, and this registry's record of keys does not lead from it to the one that signs here, "
                f"{fingerprint(in_force)[:12]}: `slipway keys rotate` at this registry, too."
            )
        names[name] = f"{KEYS}/{name}.pem"
        files[names[name]] = state.pem.encode()
    return FormerKeys(names=names, files=files)


def _written(chain: tuple[Inventoried, ...]) -> bytes:
    """Each change as it was signed, oldest first, and its inventory in the order that its digest is taken of."""
    changes = [each.model_dump(mode="json") | {"holds": sorted(each.holds)} for each in chain]
    return json.dumps(changes, indent=1).encode()
