"""Who may do what in the test cluster: tokens, client certificates, rules."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.kube.statuses import Refused, unauthorized

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from support.kube.paths import Asked

BEARER_PROTOCOL = "base64url.bearer.authorization.k8s.io."


@dataclass(frozen=True)
class Rule:
    """Verbs on resources (`pods`, `pods/exec`), in all namespaces unless some are named."""

    verbs: Sequence[str]
    resources: Sequence[str]
    namespaces: Sequence[str] = ("*",)
    groups: Sequence[str] = ("",)

    def allows(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        asked = ((self.verbs, verb), (self.groups, group), (self.resources, resource), (self.namespaces, namespace))
        return all("*" in allowed or each in allowed for allowed, each in asked)


EVERYTHING = (Rule(["*"], ["*"], groups=["*"]),)
TERMINALS = (
    Rule(["create", "delete", "get", "list", "watch", "patch"], ["pods"]),
    Rule(["create", "get"], ["pods/exec", "pods/attach", "pods/portforward"]),
    Rule(["get"], ["pods/log"]),
    Rule(["get", "list", "watch"], ["events"]),
    Rule(["get", "list"], ["pods"], groups=["metrics.k8s.io"]),
)
"""What terminals in pods of their own need."""
ASK_ABOUT_SELF = Rule(
    ["create"], ["selfsubjectaccessreviews", "selfsubjectrulesreviews"], groups=["authorization.k8s.io"]
)


@dataclass
class User:
    """Somebody with rules."""

    name: str
    rules: Sequence[Rule] = EVERYTHING
    groups: Sequence[str] = ("system:authenticated",)

    def may(self, verb: str, group: str, resource: str, namespace: str) -> bool:
        return any(rule.allows(verb, group, resource, namespace) for rule in (*self.rules, ASK_ABOUT_SELF))


@dataclass
class Access:
    """All users, by their tokens and by the names in their certificates."""

    tokens: dict[str, tuple[User, float]] = field(default_factory=dict)
    """The user, and when the token ends, in seconds of time.time()."""
    named: dict[str, User] = field(default_factory=dict)

    def add(self, name: str, rules: Sequence[Rule] = EVERYTHING, *, seconds: float = 3600) -> str:
        """Add a user or one more token of it; return the token."""
        user = self.named.setdefault(name, User(name, rules))
        user.rules = rules
        token = secrets.token_urlsafe(24)
        self.tokens[token] = user, time.time() + seconds
        return token

    def expire(self, token: str) -> None:
        """Let a token be refused from now on; streams that are open stay so."""
        self.tokens[token] = self.tokens[token][0], 0.0

    def revoke(self, token: str) -> None:
        del self.tokens[token]

    def authenticate(self, headers: Mapping[str, str], certified_name: str | None) -> User:
        """Return who asks; raise Refused."""
        if certified_name in self.named and certified_name is not None:
            return self.named[certified_name]
        user, end = self.tokens.get(bearer(headers), (None, 0.0))
        if user is None or end <= time.time():
            raise unauthorized()
        return user

    def authorize(self, user: User, asked: Asked, verbs: Sequence[str]) -> None:
        for verb in verbs:
            if not user.may(verb, asked.group, asked.full_resource, asked.namespace):
                raise forbidden(user, asked, verb)

    def review(self, user: User, attributes: Mapping[str, Any]) -> bool:
        resource = attributes.get("resource", "")
        if sub := attributes.get("subresource"):
            resource = f"{resource}/{sub}"
        namespace = attributes.get("namespace", "")
        return user.may(attributes.get("verb", ""), attributes.get("group", ""), resource, namespace)


def bearer(headers: Mapping[str, str]) -> str:
    """Return the token of a request, by its header or as a subprotocol beside a real one."""
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    offered = [each.strip() for each in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    found = [each.removeprefix(BEARER_PROTOCOL) for each in offered if each.startswith(BEARER_PROTOCOL)]
    if len(found) != 1 or len(offered) < 2:
        return ""
    return base64.urlsafe_b64decode(found[0] + "=" * (-len(found[0]) % 4)).decode()


def forbidden(user: User, asked: Asked, verb: str) -> Refused:
    where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    what = f'resource "{asked.full_resource}" in API group "{asked.group}"'
    name = f' "{asked.name}"' if asked.name else ""
    full = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    message = f'{full}{name} is forbidden: User "{user.name}" cannot {verb} {what}{where}'
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    return Refused(403, "Forbidden", message, details={key: value for key, value in details.items() if value})
