from __future__ import annotations

import contextlib

import pytest

from tests.object_stores import gs_store, s3_store

STORES = {"s3": s3_store, "gs": gs_store}


@pytest.fixture(scope="session")
def stores():
    """The stores of this session, started when they are first asked for."""
    with contextlib.ExitStack() as open_stores:
        started = {}

        def get(scheme):
            if scheme not in started:
                started[scheme] = open_stores.enter_context(STORES[scheme]())
            return started[scheme]

        yield get


@pytest.fixture(params=STORES)
def store(request, stores):
    """An empty bucket of each store."""
    found = stores(request.param)
    found.clear()
    yield found
    found.proxy.reset()


@pytest.fixture
def s3(stores):
    found = stores("s3")
    found.clear()
    yield found
    found.proxy.reset()
