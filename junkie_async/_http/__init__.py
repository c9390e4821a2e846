"""Sends requests: transport, throttle and retries. `transport` alone knows aiohttp's session."""
