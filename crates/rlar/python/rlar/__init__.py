"""Rewards of rlar for trainers in Python.

The wheel brings the program `rlar`. `Client` asks a server (`rlar serve`) for rewards, `LocalServer` runs one as long as it is
needed, and `Rewards` is both: a reward function for TRL's trainers. `rlar.verl` has the reward function for verl.

A reply that was not scored never gets a number: its reward is `None`, and the answer says why.
"""

from rlar.client import AsyncClient, Client
from rlar.errors import ServerError
from rlar.server import LocalServer, binary
from rlar.trl import Rewards
from rlar.types import Answer, Item, Part, Result

__all__ = [
    "Answer", "AsyncClient", "Client", "Item", "LocalServer", "Part", "Result", "Rewards", "ServerError", "binary",
]
