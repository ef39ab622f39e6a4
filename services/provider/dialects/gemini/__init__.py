"""The Gemini generateContent dialect."""
