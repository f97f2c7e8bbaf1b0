"""A secret in memory: it does not print itself."""

import msgspec

# Members of a service account key or client credential that are no secret, and are wanted in messages.
_PUBLIC_MEMBERS = {
    "type", "project_id", "client_email", "client_id", "auth_uri", "token_uri", "auth_provider_x509_cert_url",
    "client_x509_cert_url", "universe_domain", "tenant_id",
}  # fmt: skip


class Secret:
    """Text that must not reach a log, an answer or an error. `reveal` is the only way to it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def members(self) -> dict[str, str]:
        """The string members of a secret that is a JSON object (a service account key, a client id with its secret);
        empty for plain text."""
        try:
            decoded = msgspec.json.decode(self._text)
        except (msgspec.DecodeError, UnicodeError):
            return {}
        if not isinstance(decoded, dict):
            return {}
        return {name: value for name, value in decoded.items() if isinstance(value, str)}

    def scrub(self, text: str) -> str:
        """`text` with this secret, and each longer member of it, blotted out: for messages that others wrote."""
        hidden = {value for name, value in self.members().items() if name not in _PUBLIC_MEMBERS}
        for value in sorted({self._text, *hidden}, key=len, reverse=True):
            if len(value) >= 6:  # shorter ones would blot out ordinary words
                text = text.replace(value, "[secret]")
        return text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__
