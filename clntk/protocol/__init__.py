"""What to run: a protocol is loaded, checked and expanded into run specs."""

from clntk.protocol.expand import expand
from clntk.protocol.load import available, find, load
from clntk.protocol.model import Protocol
from clntk.protocol.spec import FORMAT, RunSpec

__all__ = ["FORMAT", "Protocol", "RunSpec", "available", "expand", "find", "load"]
