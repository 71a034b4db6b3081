"""The sound of the sample film: a waltz of our own on a worn piano, and the projector."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from shots import FPS, SEED, starts

SAMPLE_RATE = 48000
SAMPLES_PER_FRAME = 2002  # 48000 * 1001 / 24000: sound and picture meet exactly at every frame


def play() -> NDArray[np.float32]:
    """The sound track, mono, `[samples]`, -1..1, as long as the film."""
    random = np.random.default_rng([SEED, 5])
    samples = starts()[-1] * SAMPLES_PER_FRAME
    time = np.arange(samples) / SAMPLE_RATE
    music = np.zeros(samples)
    for begin, key, loudness in waltz():
        here = time >= begin
        music[here] += loudness * strike(time[here] - begin, 440 * 2 ** ((key - 69) / 12))
    clatter = random.normal(0, 1, samples) * (0.25 + np.maximum(np.sin(2 * np.pi * float(FPS) * time), 0) ** 6)
    crackle = np.where(random.random(samples) < 12 / SAMPLE_RATE, random.normal(0, 4, samples), 0)
    sound = band(music, 90, 4200) / np.abs(music).max() * 0.42 + 0.016 * band(clatter, 150, 2500) + 0.1 * crackle
    fade = np.minimum(1, np.minimum(time / 0.15, (time[-1] - time) / 0.6))
    return np.asarray(np.clip(sound * fade, -1, 1), np.float32)


def waltz() -> Iterator[tuple[float, int, float]]:
    """Notes of the waltz: when (seconds), key (MIDI number), loudness."""
    beat = 0.6
    bars = ((45, 57, 60), (50, 57, 62), (43, 55, 59), (48, 55, 64), (41, 57, 60), (40, 56, 62), (45, 57, 64))
    tune = ((76, 81, 79), (77, 74, 77), (74, 79, 77), (76, 72, 76), (72, 77, 76), (71, 74, 68), (69, 72, 76))
    for bar, (chord, melody) in enumerate(zip(bars, tune, strict=True)):
        for step in range(3):
            begin = 0.3 + beat * (3 * bar + step)
            yield begin, melody[step], 0.8 if step == 0 else 0.6
            for key in chord[:1] if step == 0 else chord[1:]:
                yield begin, key, 0.5 if step == 0 else 0.26


def strike(time: NDArray[np.float64], pitch: float) -> NDArray[np.float64]:
    """One piano string, struck at time 0 (seconds, from 0), at `pitch` in hertz."""
    time = time + 0.00035 * np.sin(2 * np.pi * 0.9 * time)  # wow of a worn record
    partials = [np.sin(2 * np.pi * pitch * n * time) * np.exp(-(1.1 + 0.7 * n) * time) / n**1.4 for n in range(1, 8)]
    return np.asarray(np.sum(partials, axis=0) * np.minimum(1, time / 0.004))


def band(sound: NDArray[np.float64], low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """The sound between two frequencies, with soft edges."""
    spectrum = np.fft.rfft(sound)
    hz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
    gain = 1 / (1 + (low_hz / np.maximum(hz, 1)) ** 4) / (1 + (hz / high_hz) ** 6)
    return np.asarray(np.fft.irfft(spectrum * gain, len(sound)))
