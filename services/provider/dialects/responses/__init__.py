"""The dialect of OpenAI's Responses API, as our callers speak it; far ends are asked in their other dialects."""
