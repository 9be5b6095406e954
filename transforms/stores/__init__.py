"""Object stores, `s3://` and `gs://`, by the libraries of fsspec. Another one is a row in `SCHEMES`, and a file."""

from beamsplit.transforms.stores.schemes import SCHEMES as SCHEMES
from beamsplit.transforms.stores.schemes import check_names as check_names
from beamsplit.transforms.stores.schemes import is_remote as is_remote
from beamsplit.transforms.stores.store_errors import NotThere as NotThere
from beamsplit.transforms.stores.store_errors import StoreError as StoreError
