"""The HTTP gateway: live events, queries and the page."""
