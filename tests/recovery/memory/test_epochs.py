"""Epochs: what can be restored follows from seals alone, and what is missing is named."""

import contextlib
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offbeat.recovery.memory import epochs
from offbeat.recovery.memory.epoch import DATA, PARITY, Epoch, Seal
from offbeat.recovery.memory.isal import crc32
from offbeat.recovery.memory.manifest import Manifest, Member, Shard

HOSTS = ["a", "b", "c", "d"]
E1, E2 = Epoch(1, 10), Epoch(1, 20)


def shard(rank, epoch=E1, world=4, content=0):
    """Return a rank's image of two chunks."""
    sums = np.array([rank, content], np.uint32)
    table = crc32(sums.view(np.uint8))
    return Shard(Seal("job", DATA, rank, world, *epoch, 8, "ab" * 32, 7, table), sums)


def coded(epoch=E1):
    """Return the manifest of four hosts with one rank each, coded 2+2, and the inventory when all is there."""
    manifest = Manifest("job", epoch, 2, 2, 4, tuple(Member(h, (shard(r, epoch),)) for r, h in enumerate(HOSTS)))
    parity = [Seal("job", PARITY, i, 4, *epoch, 8, manifest.digest, 9, 0) for i in range(4)]
    return manifest, {h: [shard(r, epoch).seal._replace(sealed_at=r), parity[r]] for r, h in enumerate(HOSTS)}


@pytest.mark.parametrize("count", range(5))
def test_any_two_of_four_hosts_may_be_gone(count):
    """With 2+2 every loss of up to two hosts is restorable, and of three or more none; the ranks are named."""
    manifest, inventory = coded()
    for lost in itertools.combinations(HOSTS, count):
        left = {host: seals for host, seals in inventory.items() if host not in lost}
        verdict = epochs.judge(E1, left, [manifest] if left else [])
        assert verdict.restorable == (count <= 2)
        if count == 3:
            ranks = [HOSTS.index(host) for host in lost]
            assert verdict.rebuilt == ranks
            assert [f"rank {r}: 1 of 2+2 shards are left where 2 are needed" for r in ranks] == verdict.missing


def test_parity_of_another_manifest_does_not_count():
    """Parity that was made with another manifest is noise to this one."""
    manifest, inventory = coded()
    for host in HOSTS[2:]:
        inventory[host][1] = inventory[host][1]._replace(fingerprint="00" * 32)
    left = {host: inventory[host] for host in HOSTS[2:]}
    assert not epochs.judge(E1, left, [manifest]).restorable


def test_the_newest_restorable_epoch_is_chosen_and_newer_ones_are_explained():
    """A newer step that one rank has not sealed is passed over, with what it lacks."""
    inventory = {
        "a": [shard(0, e).seal for e in (E1, E2)] + [shard(1, E1).seal],
        "b": [shard(r, E1).seal for r in (2, 3)],
    }
    chosen, rejected = epochs.newest(inventory, [])
    assert chosen.epoch == E1
    assert chosen.ranks == {0: "a", 1: "a", 2: "b", 3: "b"}
    gone = "was on a host that is gone, and was not coded"
    words = f"step 20 of generation 1: rank 1 {gone}; rank 2 {gone}; rank 3 {gone}"
    assert [v.words() for v in rejected] == [words]


def test_two_states_of_one_rank_make_no_epoch():
    """If a rank's image differs between two hosts, neither is guessed to be right."""
    inventory = {"a": [shard(r).seal for r in range(4)], "b": [shard(2, content=5).seal]}
    verdict = epochs.judge(E1, inventory, [])
    assert verdict.missing == ["rank 2 has several states"]


def test_seals_must_agree_on_the_world():
    """Seals of runs with different numbers of ranks are not put together."""
    inventory = {"a": [shard(0, world=2).seal, shard(1, world=4).seal]}
    assert epochs.judge(E1, inventory, []).missing == ["its seals speak of [2, 4] ranks"]
    assert epochs.judge(E2, inventory, []).missing == ["nothing of it is left"]


def test_a_rebuilt_image_counts_as_the_first_one():
    """Only the time of its seal is another one."""
    manifest, inventory = coded()
    inventory["spare"] = [seal._replace(sealed_at=99) for seal in inventory.pop("b")]
    verdict = epochs.judge(E1, inventory, [manifest])
    assert verdict.ranks[1] == "spare"
    assert verdict.coded[0].data[1] == "spare"


def test_a_manifest_survives_its_text():
    """What is sent is what is read, with the same digest; damaged ones are refused with a reason."""
    manifest, _ = coded()
    assert Manifest.parse(manifest.text()).digest == manifest.digest
    text = manifest.text().decode()
    for broken, reason in (
        ("[]", "not a manifest"),
        (text.replace('"code":[2,2]', '"code":[4,2]'), "4 hosts for 4[+]2"),
        (text.replace('["b",[[["job",0,1', '["b",[[["job",0,0'), "rank appears twice"),
        (text.replace('["b",[[["job",0,1,4,1,10', '["b",[[["job",0,1,4,1,11'), "another epoch"),
        (text.replace('"AAAAAAAAAAA="', '"AQAAAAAAAAA="'), "not those of its seal"),
    ):
        with pytest.raises(ValueError, match=reason):
            Manifest.parse(broken)


@given(
    st.binary(max_size=60) | st.just(coded()[0].text()), st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)))
)
def test_any_text_is_a_manifest_or_a_clear_error(text, flips):
    """Whatever a peer sends, reading it ends in a manifest or a ValueError."""
    changed = bytearray(text)
    for at, value in flips:
        if at < len(changed):
            changed[at] = value
    with contextlib.suppress(ValueError):
        assert len(Manifest.parse(bytes(changed)).digest) == 64


def test_pieces_cover_every_image():
    """Each chunk of a member lies in one place, and behind the end there is nothing."""
    manifest, _ = coded()
    assert manifest.piece == 1
    assert [manifest.place(0, at) for at in range(3)] == [(0, 0, 4), (0, 1, 4), None]
