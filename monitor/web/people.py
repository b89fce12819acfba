"""Who asks, and what each may see and do.

The gate puts a `Person` into ``request.state.person`` of every request that it lets through; a route asks that person
and nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass

ANONYMOUS = "anonymous"
"""Who comes where nothing is asked for."""
TOKEN = "token"  # noqa: S105 - a name, not a secret
"""Who comes with the token of the listener, which several may share."""
SHARED = frozenset({ANONYMOUS, TOKEN})
"""Names that are nobody's own."""


@dataclass(frozen=True, slots=True)
class Person:
    """One who asks; ``models`` None means all, ``values`` feature values, ``act`` interventions."""

    name: str
    models: frozenset[str] | None = None
    values: bool = False
    act: bool = False

    def sees(self, model: str) -> bool:
        """Whether this model is theirs to see; without ``act`` it is still not theirs to touch."""
        return self.models is None or model in self.models

    def touches(self, model: str) -> bool:
        """Whether they may intervene in this model."""
        return self.act and self.sees(model)

    def signature(self, claimed: str = "") -> str:
        """The name under which an act is recorded: one's own, or for a shared one who they say that they are.

        >>> Person("token").signature("anna")
        'anna (token)'
        """
        told = " ".join(claimed.split())[:100]
        return f"{told} ({self.name})" if told and self.name in SHARED else self.name
