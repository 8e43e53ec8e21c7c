"""Every way in: WebSocket and HTTP. ASGI lives here only."""
