"""Which signatures count, of keys × changes × what was signed when: the rule without a registry, and the chain without believing anybody."""

import datetime
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.system import key_chain as chains
from tasks.system import keyring as keyrings
from tasks.system.ecdsa import sign
from tasks.system.key_chain import FIRST, Change, Inventoried, read_chain
from tasks.system.keyring import Keyring, KeyringError, states
from tasks.system.signers import load, public_pem
from tasks.system.signing import create_key_pair

DAY = datetime.datetime(2026, 5, 3, 12, 0, tzinfo=datetime.UTC)

DIGESTS = [f"{number:064x}" for number in range(40)]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Inventoried], dict[str, set[str]], dict[str, set[str]]]:
    """A chain of rotations and revocations, what each key signed while in force, and what revocations left of it."""
    chain: list[Inventoried] = []
    signed: dict[str, set[str]] = {"key 0": set()}
    left: dict[str, set[str]] = {}
    keys, fresh = ["key 0"], iter(DIGESTS)
    for number in range(draw(st.integers(0, 6))):
        signed[keys[-1]] |= {next(fresh) for _ in range(draw(st.integers(0, 4)))}
        revoking = len(keys) > 1 and draw(st.booleans())
        ended = draw(st.sampled_from(keys[:-1])) if revoking else keys[-1]
        holds = set(signed[ended])
        if revoking:
            holds = {digest for digest in sorted(holds) if draw(st.booleans())} | set(
                draw(st.sets(st.sampled_from(DIGESTS), max_size=3))
            )
            left[ended] = holds & left.get(ended, signed[ended])
        change = Change(
            sequence=number + 1, at=DAY + datetime.timedelta(days=number), action="revoke" if revoking else "rotate",
            key=keys[-1] if revoking else f"key {len(keys)}", ended=ended, since=DAY if revoking else None,
            who="ada", why="because", holds="", previous=FIRST,
        )  # fmt: skip
        chain.append(Inventoried(change=change, holds=frozenset(holds)))
        if not revoking:
            keys.append(f"key {len(keys)}")
            signed[keys[-1]] = set()
    return chain, signed, left


@given(histories(), st.sampled_from(DIGESTS), st.integers(0, 6))
def test_what_a_key_signed_in_its_time_counts_and_nothing_that_it_signs_after(
    history: tuple[list[Inventoried], dict[str, set[str]], dict[str, set[str]]], digest: str, root: int
) -> None:
    chain, signed, left = history
    names = [*signed]
    known = states(names[root % len(names)], chain)
    assert [*known] == (names if chain else names[:1])
    for name in names[:-1]:
        counts = known[name].refusal(digest) is None
        assert counts == (digest in left.get(name, signed[name]))
        assert (known[name].revoked is not None) == (name in left)
    assert known[names[-1]].refusal(digest) is None, "the key in force signs what it likes"


@given(histories(), histories(), st.sampled_from(DIGESTS))
def test_two_registries_add_up_to_what_either_lists_and_a_key_that_ended_in_one_has_ended(
    first: tuple[list[Inventoried], dict[str, set[str]], dict[str, set[str]]],
    second: tuple[list[Inventoried], dict[str, set[str]], dict[str, set[str]]],
    digest: str,
) -> None:
    one, other = states("key 0", first[0]), states("key 0", second[0])
    together = keyrings.merged("key 0", [one, other])
    assert {*together} == {*one, *other}
    for name, state in together.items():
        both = [known[name] for known in (one, other) if name in known]
        ended = [each for each in both if each.holds is not None]
        assert (state.holds is None) == (not ended)
        assert (state.refusal(digest) is None) == (
            not ended
            or any(digest in each.holds_or_none for each in ended)
            and not any(digest in each.dropped for each in ended)
        )


@given(histories(), st.integers(0, 6), st.booleans())
def test_what_was_learned_before_a_revocation_at_another_address_of_the_registry_undoes_none_of_it(
    history: tuple[list[Inventoried], dict[str, set[str]], dict[str, set[str]]],
    known: int,
    later: bool,
) -> None:
    now, before = states("key 0", history[0]), states("key 0", history[0][:known])
    together = keyrings.merged("key 0", [now, before, before] if later else [before, now, before])
    for name, state in now.items():
        assert [together[name].refusal(digest) for digest in DIGESTS] == [
            state.refusal(digest) for digest in DIGESTS
        ]


def test_a_chain_that_the_root_is_no_part_of_says_nothing(tmp_path: Path) -> None:
    chain = [Inventoried(change=_change(1, "key 1", "key 0"), holds=frozenset())]
    assert [*states("another", chain)] == ["another"]


class Keys:
    """Real keys by number, and a chain between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.claims: dict[str, str] = {}

    def private(self, number: int) -> Path:
        path = self.folder / f"{number}.pem"
        if not path.exists():
            create_key_pair(path, self.folder / f"{number}.pub")
        return path

    def pem(self, number: int) -> str:
        return public_pem(load(str(self.private(number))))

    def rotate(self, old: int, new: int, holds: set[str], *signers: int, first: bool = False) -> Change:
        chain = () if first else read_chain(self.claims, {self.pem(old)})
        previous = chain[-1].change.digest if chain else FIRST
        name, parts = chains.parts(holds)
        change = _change(len(chain) + 1, self.pem(new), self.pem(old), previous, name)
        keys = [load(str(self.private(number))) for number in signers or (old, new)]
        key, text = chains.claimed(
            change, next(n for n in range(1, 99) if f"change-{n}" not in self.claims), *keys
        )
        self.claims |= parts | {key: text}
        return change

    def keep(self, claims: dict[str, str], root: int = 0) -> bool:
        self.private(root)
        return keyrings.keep(self.folder / "ring", "a registry", claims, self.folder / f"{root}.pub")

    def ring(self, root: int) -> Keyring:
        return Keyring(states(self.pem(root), read_chain(self.claims, {self.pem(0)})))


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def _change(sequence: int, key: str, ended: str, previous: str = FIRST, holds: str = "") -> Change:
    return Change(
        sequence=sequence, at=DAY, action="rotate", key=key, ended=ended, who="ada", why="old", holds=holds, previous=previous
    )  # fmt: skip


def test_whoever_has_any_key_of_a_chain_follows_it_to_all_others(keys: Keys) -> None:
    text = "signed in its time"
    keys.rotate(0, 1, {chains.digest_of(text)})
    keys.rotate(1, 2, set())
    signature = sign(text, load(str(keys.private(0))))
    new = sign("new", load(str(keys.private(2))))
    late = sign("late", load(str(keys.private(0))))
    for root in (0, 1, 2):
        ring = keys.ring(root)
        assert ring.fits(text, signature) and ring.fits("new", new)
        assert not ring.fits("late", late) and ring.signer("late", late) is not None
        assert not ring.fits(text, new) and not ring.fits(text, "not base64")


@pytest.mark.parametrize("signers", [(0,), (1,), (1, 0), (0, 3), (3, 1), (3, 3)])
def test_a_hand_over_that_not_both_keys_signed_is_passed_over_and_said(
    keys: Keys, signers: tuple[int, ...]
) -> None:
    keys.rotate(0, 1, set(), *signers)
    problems: list[str] = []
    assert read_chain(keys.claims, {keys.pem(0)}, problems) == () and "is not believed" in problems[0]
    assert [*keys.ring(0).states] == [*keys.ring(0).states][:1], "the key in force is what it was"
    keys.rotate(0, 2, set())
    assert len(read_chain(keys.claims, {keys.pem(2)})) == 1, (
        "who can write to MLflow does not hold up a hand-over either"
    )


def test_a_chain_that_a_stranger_began_first_is_passed_over_and_said_and_ours_is_believed(keys: Keys) -> None:
    keys.rotate(7, 8, set())
    stranger = dict(keys.claims)
    assert not keys.keep(keys.claims), "nor is it kept"
    keys.claims["change-40"] = "{}"
    keys.rotate(0, 1, {DIGESTS[3]}, first=True)
    keys.rotate(1, 2, set())
    assert {"change-2", "change-3"} < {*keys.claims}, "no number is left out for whoever has a former key"
    for root in (0, 1, 2):
        problems: list[str] = []
        chain = read_chain(keys.claims, {keys.pem(root)}, problems)
        assert [each.number for each in chain] == [2, 3]
        assert [problem.partition(" is not believed: ")[::2] for problem in problems] == [
            ("change 1 of keys", "no key that is trusted here leads to it"),
            ("change 40 of keys", "it cannot be read"),
        ]
        assert len(keys.ring(root).states) == 3 and keys.keep(keys.claims, root) == (root == 0)
    keys.rotate(0, 9, set(), first=True)  # as a thief of the first key would
    copied = {"change-5": keys.claims["change-2"]}
    assert [each.number for each in read_chain(keys.claims | copied, {keys.pem(0)})] == [2, 3]
    assert [each.number for each in read_chain(keys.claims | copied, {keys.pem(7)})] == [1]
    assert not keys.keep(stranger, 5), "with another key than ever nothing is compared"
    assert keys.keep(keys.claims, 7)


def test_every_changed_character_of_the_record_takes_the_change_out(keys: Keys) -> None:
    keys.rotate(0, 1, {DIGESTS[3], DIGESTS[5]})
    whole, root = dict(keys.claims), {keys.pem(0)}
    for name, text in whole.items():
        for place in range(0, len(text), 7):
            flipped = chr(ord(text[place]) ^ 1)
            chain = read_chain(whole | {name: text[:place] + flipped + text[place + 1 :]}, root)
            assert chain == () or chain == read_chain(whole, root), (name, place)
    beside = {f"holds-{read_chain(whole, root)[0].change.holds[:16]}-1": "f" * 64}
    assert read_chain(whole | beside, root) == read_chain(whole, root)


def test_a_record_that_was_cut_or_rewritten_is_not_taken_over(keys: Keys, tmp_path: Path) -> None:
    keys.rotate(0, 1, set())
    assert keys.keep(keys.claims)
    assert not keys.keep(keys.claims | {"begun": "x"}), "that is no news"
    before = dict(keys.claims)
    keys.claims["change-2"] = keys.claims["change-1"].replace('"signatures":["M', '"signatures":["N')
    assert not keys.keep(keys.claims), "nor is what nobody believes"
    keys.rotate(1, 2, set())
    assert keys.keep(keys.claims)
    for rewritten in ({}, before, keys.claims | {"change-1": keys.claims["change-3"]}):
        with pytest.raises(KeyringError, match="cut short or rewritten"):
            keys.keep(rewritten)
    (kept,) = (tmp_path / "ring").glob("ring-*.json")
    del keys.claims["change-2"]
    assert json.loads(kept.read_bytes()) == keys.claims
    assert not keys.keep(keys.claims), "and may go again"


def test_a_damaged_file_of_what_is_kept_is_one_sentence_that_names_it(keys: Keys, tmp_path: Path) -> None:
    keys.rotate(0, 1, set())
    keys.keep(keys.claims)
    (kept,) = (tmp_path / "ring").glob("ring-*.json")
    for damaged in ("", kept.read_text()[:-9], "[]", '{"change-1": {}}', '{"change-1": "{}"}'):
        kept.write_text(damaged)
        for read in (lambda: keys.keep(keys.claims), lambda: keyrings.read_keyring(tmp_path / "0.pub", kept.parent)):  # fmt: skip
            with pytest.raises(KeyringError, match=rf"{kept} is damaged, .* remove it"):
                read()
    kept.unlink()
    assert keys.keep(keys.claims)
