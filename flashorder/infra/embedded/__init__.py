"""The embedded stores: a Valkey and a PostgreSQL of our own, for one machine without either.

``DataFolder`` is opened first (it holds the lock), then ``EmbeddedStore`` and ``EmbeddedDatabase``
are started in it, at once if one likes::

    with DataFolder(path) as folder:
        async with EmbeddedStore(folder) as store, EmbeddedDatabase(folder) as database:
            serve(store.url, database.url)
"""

from flashorder.infra.embedded.data_folder import DataFolder, Endpoints, running_endpoints
from flashorder.infra.embedded.errors import EmbeddedServerError
from flashorder.infra.embedded.postgres import EmbeddedDatabase
from flashorder.infra.embedded.valkey import EmbeddedStore

__all__ = [
    "DataFolder",
    "EmbeddedDatabase",
    "EmbeddedServerError",
    "EmbeddedStore",
    "Endpoints",
    "running_endpoints",
]
