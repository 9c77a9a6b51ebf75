"""Token files on disk, and the order in which training reads them."""

from minillm.data.batches import Batches, evaluation_windows
from minillm.data.reference import random_batch
from minillm.data.token_file import TokenFile, TokenManifest

__all__ = ["Batches", "TokenFile", "TokenManifest", "evaluation_windows", "random_batch"]
