"""A bare number as the whole payload: `21.5`; or a text that the stream's `map` has."""

from __future__ import annotations

from anomalyd.adapters.codec.payload import Decoded, Numbers, Refused, bounded

_PLAIN = Numbers()


class ScalarCodec:
    """Decimal text, white space around it allowed."""

    def __init__(self, numbers: Numbers = _PLAIN) -> None:
        self._texts = dict(numbers.texts)
        if numbers.booleans:
            self._texts = {"true": 1.0, "false": 0.0} | self._texts

    def decode(self, payload: bytes, topic: str = "") -> Decoded:
        """Raises Refused: `size`, `empty` or `number`."""
        bounded(payload)
        text = payload.strip()
        if not text:
            raise Refused("empty", "an empty payload")
        if self._texts:
            mapped = self._texts.get(text.decode(errors="replace"))
            if mapped is not None:
                return Decoded((("", mapped),), None)
        # Python reads 1_000 as a number; no instrument writes it.
        if b"_" in text:
            raise Refused("number", "not a number")
        try:
            return Decoded((("", float(text)),), None)
        except ValueError as error:
            raise Refused("number", "not a number") from error
