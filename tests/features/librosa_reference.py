"""The front end as its authors run it, one librosa call after the other on one clip."""

import numpy as np


def features(wave, settings):
    """(frames, 3 * mels) of a wave prepared by steps 1 and 2; ``settings``: edgekws.features.settings.Features."""
    import librosa

    power = librosa.feature.melspectrogram(y=wave, sr=16_000, n_fft=settings.window, hop_length=settings.hop,
                                           n_mels=settings.mels, fmin=settings.lowest, fmax=settings.highest)
    log_mel = np.log1p(power / power.max()) if power.max() > 0 else power
    channels = np.stack([log_mel, *(librosa.feature.delta(log_mel, width=settings.delta_width, order=order)
                                    for order in (1, 2))])
    deviation = channels.std(axis=2, keepdims=True)
    channels = channels / np.where(deviation > 0, deviation, 1)
    return channels.transpose(2, 0, 1).reshape(channels.shape[2], -1)
