"""What a call costs: tokens times list price, exactly, with dearer rates for long inputs."""

from msgspec import Struct
from propcache.api import cached_property

TOKENS_PER_PRICE = 1_000_000
# times the price of input, of every model of Anthropic, who alone has such a cache; the price list does not hold it
_HOUR_CACHE = 2


class Rate(Struct, frozen=True):
    """Prices in nano units for one million tokens; None where a kind of input (of the cache, of sound) has none of its own."""

    input: int
    output: int
    cached_input: int | None = None
    cache_write: int | None = None
    audio_input: int | None = None
    cached_audio: int | None = None


class Price(Struct, frozen=True, dict=True):
    """A model's rates: `base`, and for inputs of more than so many tokens another rate for the whole call (vendors' "cliff")."""

    base: Rate
    tiers: tuple[tuple[int, Rate], ...] = ()

    @cached_property
    def free(self) -> bool:
        """Whether every rate is zero."""
        rates = [self.base, *(rate for _, rate in self.tiers)]
        return all(rate.input == 0 and rate.output == 0 and not rate.cached_input and not rate.cache_write for rate in rates)

    def rate(self, input_tokens: int) -> Rate:
        """The rate that a call with so many input tokens pays."""
        rate = self.base
        for above, dearer in self.tiers:
            if input_tokens > above:
                rate = dearer
        return rate

    def cost(
        self,
        input_tokens: int,
        output_tokens: int,
        cached_input_tokens: int = 0,
        cache_write_tokens: int = 0,
        hour_cache_tokens: int = 0,
        *,
        audio_tokens: int = 0,
        cached_audio_tokens: int = 0,
    ) -> int:
        """Nano units, rounded up once at the end so that a budget is never undercounted.

        `input_tokens` include those read from and written to the cache, which are charged once, at their own rate if any; of those
        written `hour_cache_tokens` are kept for an hour. Of the input `audio_tokens` are sound, of those read from the cache
        `cached_audio_tokens`.
        """
        rate = self.rate(input_tokens)
        read_rate = rate.input if rate.cached_input is None else rate.cached_input
        write_rate = rate.input if rate.cache_write is None else rate.cache_write
        hour_rate = write_rate if rate.cache_write is None else max(write_rate, _HOUR_CACHE * rate.input)
        audio_rate = rate.input if rate.audio_input is None else rate.audio_input
        cached_audio_rate = read_rate if rate.cached_audio is None else rate.cached_audio
        fresh_audio = audio_tokens - cached_audio_tokens
        parts = (
            (input_tokens - cached_input_tokens - cache_write_tokens - fresh_audio) * rate.input,
            fresh_audio * audio_rate,
            (cached_input_tokens - cached_audio_tokens) * read_rate,
            cached_audio_tokens * cached_audio_rate,
            (cache_write_tokens - hour_cache_tokens) * write_rate,
            hour_cache_tokens * hour_rate,
            output_tokens * rate.output,
        )
        return -(-sum(parts) // TOKENS_PER_PRICE)


FREE = Price(Rate(0, 0))
