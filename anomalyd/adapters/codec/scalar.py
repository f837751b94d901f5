"""A bare number as the whole payload: `21.5`."""

from __future__ import annotations

from anomalyd.adapters.codec.payload import LARGEST_PAYLOAD, Decoded, Refused


class ScalarCodec:
    """Decimal text, white space around it allowed."""

    def decode(self, payload: bytes) -> Decoded:
        """Raises Refused: `size`, `empty` or `number`."""
        if len(payload) > LARGEST_PAYLOAD:
            raise Refused("size", f"{len(payload)} bytes")
        if not payload.strip():
            raise Refused("empty", "an empty payload")
        # Python reads 1_000 as a number; no instrument writes it.
        if b"_" in payload:
            raise Refused("number", "not a number")
        try:
            return Decoded((("", float(payload)),), None)
        except ValueError as error:
            raise Refused("number", "not a number") from error
