"""Every dialect by its name."""

from collections.abc import Mapping

from services.provider.dialects.anthropic.dialect import Anthropic
from services.provider.dialects.base import Dialect
from services.provider.dialects.openai.dialect import OpenAI

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in (OpenAI(), Anthropic())}
