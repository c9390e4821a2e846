"""Sends requests: transport, throttle and retries. Only `transport` uses aiohttp's session."""
