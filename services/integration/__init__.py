"""Integration: users' accounts at other systems, repositories from GitHub, messages to Slack."""
