"""What a client says it takes (RFC 9110, section 12.5): a page or data, packed content or not."""

from __future__ import annotations


def wants_page(types: list[str]) -> bool:
    """Tell a browser, which names text/html first, from a client that takes anything; `types` of Accept, in order."""
    names = [each.partition(";")[0].strip().lower() for each in types]
    return "text/html" in names and "application/json" not in names[: names.index("text/html")]


def takes_gzip(codings: list[str]) -> bool:
    """Tell whether content may be packed with gzip; `codings` of Accept-Encoding. What cannot be read means no."""
    weights = {}
    for each in codings:
        name, _, parameters = each.partition(";")
        weights[name.strip().lower()] = _weight(parameters)
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if not name.strip():
        return 1.0
    try:
        return float(value) if name.strip().lower() == "q" else 0.0
    except ValueError:
        return 0.0
