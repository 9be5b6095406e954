"""Models that lie elsewhere: a web server, a store, a registry. Another is a row in `MODEL_SCHEMES`, and a file."""

from beamsplit.transforms.fetch.model_schemes import MODEL_SCHEMES as MODEL_SCHEMES
from beamsplit.transforms.fetch.model_schemes import is_elsewhere as is_elsewhere
from beamsplit.transforms.fetch.model_schemes import pinned as pinned
