"""Idempotency keys."""

import threading

import pytest

from offbeat.store import Remembered, StateError


def test_the_first_is_carried_out_and_the_second_gets_its_answer(store):
    """A key claimed is yours; claimed again it tells the answer, or that there is none yet."""
    keys = store.idempotency
    assert keys.claim("ann", "k", "f") is None
    assert keys.claim("ann", "k", "f") == Remembered(None, b"")
    keys.finish("ann", "k", 201, b"made")
    assert keys.claim("ann", "k", "f") == Remembered(201, b"made")
    assert keys.claim("bob", "k", "f") is None


def test_a_key_for_another_request_is_refused(store):
    """One key, one request."""
    store.idempotency.claim("ann", "k", "f")
    with pytest.raises(StateError, match="another request"):
        store.idempotency.claim("ann", "k", "g")


def test_a_failed_request_may_be_sent_again(store):
    """A released key is free; an answered one stays."""
    keys = store.idempotency
    keys.claim("ann", "k", "f")
    keys.release("ann", "k")
    assert keys.claim("ann", "k", "f") is None
    keys.finish("ann", "k", 200, b"")
    keys.release("ann", "k")
    assert keys.claim("ann", "k", "f") == Remembered(200, b"")


def test_a_request_whose_process_died_is_carried_out_by_the_next(store, clock):
    """A key without an answer is free again after a while, for one."""
    store.idempotency.claim("ann", "k", "f")
    clock.tick(61)
    assert store.idempotency.claim("ann", "k", "f") is None
    assert store.idempotency.claim("ann", "k", "f") == Remembered(None, b"")


def test_of_many_at_once_one_gets_the_key(store):
    """The same request on several threads is carried out once."""
    got = []
    threads = [threading.Thread(target=lambda: got.append(store.idempotency.claim("ann", "k", "f"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got.count(None) == 1


def test_keys_expire(store, clock):
    """Old keys are forgotten."""
    store.idempotency.claim("ann", "k", "f")
    store.idempotency.finish("ann", "k", 200, b"")
    store.idempotency.expire(clock.now + 1)
    assert store.idempotency.claim("ann", "k", "f") is None
