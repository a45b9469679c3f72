"""Webhooks: each supplier's events to the addresses it named, signed, tried again, in order within a code."""
