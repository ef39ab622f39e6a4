"""The providers that can be connected, with what discovery says of them; metadata and keys are kept in memory for a while."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from mesh import errors
from mesh.clock import Clock
from services.integration import providers
from services.integration.exchange import OK, Call, Refused, RemoteError
from services.integration.flows import refusals
from services.integration.providers import Provider, ProviderError
from services.integration.remote.outgoing import Outgoing
from services.integration.settings import IntegrationSettings


class Directory:
    """Providers by name. Nothing in its memory needs to survive a restart."""

    def __init__(self, known: Mapping[str, Provider], settings: IntegrationSettings, outgoing: Outgoing, clock: Clock) -> None:
        self.known = known
        self._settings = settings
        self._outgoing = outgoing
        self._clock = clock
        self._documents: dict[str, tuple[datetime, dict[str, Any]]] = {}

    def missing(self, provider: Provider) -> list[str]:
        """The settings that have to be filled in before it can be used."""
        return [self._settings.where(provider.name, key) for key in provider.missing]

    async def get(self, name: str) -> Provider:
        """A provider that is ready to be used.

        INVALID_ARGUMENT for an unknown one, PROVIDER_NOT_CONFIGURED with the settings to fill in, UNAVAILABLE without its metadata.
        """
        provider = self.known.get(name)
        if provider is None:
            raise errors.invalid("provider", f"not known; known are: {', '.join(self.known)}")
        if missing := self.missing(provider):
            raise refusals.not_configured(name, missing)
        if not provider.discover:
            return provider
        try:
            return providers.discovered(provider, await self._document(name, provider.well_known))
        except ProviderError as error:
            raise errors.unavailable(name, detail=str(error)) from error

    async def keys(self, provider: Provider) -> dict[str, Any]:
        """The provider's public keys, as a JWK set."""
        return await self._document(provider.name, provider.jwks_uri)

    def forget_keys(self, provider: Provider) -> None:
        """Makes the next look ask again: the provider may have changed its keys."""
        self._documents.pop(provider.jwks_uri, None)

    async def _document(self, name: str, url: str) -> dict[str, Any]:
        now = self._clock.now()
        known = self._documents.get(url)
        if known and known[0] > now - self._age():
            return known[1]
        try:
            answer = await self._outgoing.send(Call("GET", url, {"accept": "application/json"}))
            if answer.status != OK:
                raise Refused(answer.status, f"status {answer.status}", f"for {url}")
            document = answer.object()
        except RemoteError as error:
            raise errors.unavailable(name, detail=str(error)) from error
        self._documents[url] = (now, document)
        return document

    def _age(self) -> timedelta:
        return self._settings.metadata_age
