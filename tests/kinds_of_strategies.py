"""Which strategies a test is about."""

from clntk import registry


def descending() -> list[str]:
    """The strategies that train by steps down a loss; those that solve for a read-out have tests of their own."""
    names = registry.names("strategy")
    return [name for name in names if not registry.get("strategy", name).traits.get("solves")]
