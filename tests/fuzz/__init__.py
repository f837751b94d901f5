"""Payloads and topics that nobody should send, and what the codecs make of them."""
