"""The OpenAI chat completions dialect; DeepSeek, OpenRouter, vLLM, Groq, Mistral, xAI and Azure speak it with small differences."""
