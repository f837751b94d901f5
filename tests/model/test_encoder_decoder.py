"""What serves is what was trained: quantiles of the maximum in numpy, those of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anomalyd.model.encoder_decoder import LEVELS, EncoderDecoderConfig
from anomalyd.model.encoder_decoder_module import EncoderDecoderModule

SIZES = EncoderDecoderConfig()


@pytest.mark.parametrize("batch", [0, 1, 33, 10_000])
def test_the_maximum_is_that_of_torch(batch: int) -> None:
    """For as many windows as there are."""
    torch.manual_seed(1)
    module = EncoderDecoderModule(SIZES).eval()
    features = torch.randn(batch, SIZES.window, SIZES.features)
    ahead = torch.randn(batch, SIZES.horizon, SIZES.ahead)
    found = module.network().peak(features.numpy(), ahead.numpy())
    assert (batch, SIZES.horizon, len(LEVELS)) == found.shape
    if batch:  # torch's LSTM wants a series
        with torch.inference_mode():
            expected = module(features, ahead).peak.numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert np.float32 == found.dtype
