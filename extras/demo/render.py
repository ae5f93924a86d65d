"""Renders a composed demo track to the features of the course's extractor: 128 mel bands in dB, then 12 chroma bins.

There is no audio. Every sound is a template over the mel bands times an envelope over the frames, in power. The sum
goes through the extractor's last steps: dB re the maximum with a floor at -80, and the median of the power between
beats for the beat-synced features.
"""

import functools

import numpy as np

SAMPLE_RATE, HOP_LENGTH, N_FFT, N_MELS = 22050, 512, 2048, 128  # as the lab's extractor: librosa's defaults
TOP_DB = 80.0
LOWEST_PITCH, STEPS_PER_SEMITONE = 21, 8  # of sinusoid_table, which starts at A0 (27.5 Hz)
N_HARMONICS = 48

# Instrument: slope of the harmonics (dB per octave), even harmonics (dB), highest frequency (Hz), attack, decay and
# release (s), noise (dB). Chosen here from what is commonly known: plucked strings decay, bowed strings swell, a square
# wave has only odd harmonics.
INSTRUMENTS = {
    "piano": (-8, 0, 7000, 0.004, 0.9, 0.12, -32),
    "epiano": (-13, -4, 4000, 0.006, 1.1, 0.15, -40),
    "guitar": (-7, 0, 7000, 0.004, 0.5, 0.10, -26),
    "banjo": (-4, 0, 9000, 0.003, 0.22, 0.05, -24),
    "muted": (-6, 0, 6000, 0.003, 0.10, 0.03, -22),
    "clean": (-8, 0, 6000, 0.004, 0.7, 0.12, -30),
    "overdrive": (-4, 0, 6000, 0.006, 2.0, 0.06, -18),
    "distorted": (-2.5, 0, 7000, 0.006, 3.0, 0.04, -14),
    "organ": (-7, -3, 6000, 0.01, 60, 0.05, -34),
    "strings": (-6, 0, 9000, 0.12, 60, 0.25, -24),
    "pad": (-9, 0, 6000, 0.40, 60, 0.60, -34),
    "brass": (-5, 0, 9000, 0.03, 8, 0.06, -28),
    "reed": (-6, -6, 8000, 0.03, 8, 0.06, -24),
    "flute": (-13, 0, 9000, 0.05, 20, 0.08, -20),
    "violin": (-5, 0, 10000, 0.06, 20, 0.10, -24),
    "saw": (-6, 0, 11000, 0.005, 60, 0.04, -60),
    "square": (-5, -40, 11000, 0.002, 60, 0.02, -60),
    "pluck": (-6, 0, 10000, 0.002, 0.16, 0.04, -40),
    "bell": (-3, -15, 9000, 0.002, 0.7, 0.30, -45),
    "voice": (-7, 0, 9000, 0.03, 60, 0.06, -20),
    "bass": (-9, 0, 3000, 0.006, 0.8, 0.05, -34),
    "upright": (-12, 0, 2500, 0.008, 0.4, 0.06, -26),
    "sub": (-22, 0, 600, 0.008, 2.0, 0.05, -60),
    "synthbass": (-6, 0, 5000, 0.003, 0.6, 0.03, -50),
}

# Drum: peaks on the mel axis as (centre in Hz, width in bands, dB), then the time (s) in which it falls by 8.7 dB.
DRUMS: dict = {
    "kick": ([(62, 2.0, 0), (3000, 18, -34)], 0.06),
    "boom": ([(50, 1.5, 0), (2500, 16, -42)], 0.22),
    "snare": ([(200, 4, -4), (2600, 26, -13), (7000, 20, -17)], 0.06),
    "clap": ([(1500, 16, -8), (5000, 22, -16)], 0.05),
    "rim": ([(1700, 8, -10), (4500, 15, -22)], 0.015),
    "brush": ([(3500, 26, -16)], 0.07),
    "hat": ([(9000, 14, -14), (5000, 16, -24)], 0.018),
    "open": ([(8500, 16, -13), (4500, 18, -22)], 0.11),
    "ride": ([(6500, 20, -17), (3300, 6, -22)], 0.16),
    "crash": ([(6000, 28, -12), (2000, 20, -20)], 0.55),
    "shaker": ([(7500, 14, -17)], 0.03),
    "tom": ([(110, 4, -2), (1500, 20, -28)], 0.12),
    "blip": ([(6000, 30, -16), (900, 18, -20)], 0.02),
}

# Formants (Hz) of the vowels a, i, e, o, u and the one in "bird": means of men, Peterson and Barney (1952).
VOWELS = np.array(
    [(730, 1090, 2440), (270, 2290, 3010), (530, 1840, 2480), (570, 840, 2410), (300, 870, 2240), (490, 1350, 1690)]
)


def mel_frequencies(n):
    """n frequencies (Hz) in 0..11025, evenly spaced on the mel scale of Slaney's Auditory Toolbox (1998).

    The scale is linear up to 1 kHz, and logarithmic above.
    """
    top = 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4)
    mel = np.linspace(0, top, n)
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def mel_filters():
    """Slaney's triangular mel filters of equal area, (128, 1025), over the bins of a 2048-point FFT."""
    edges, bins = mel_frequencies(N_MELS + 2), np.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


@functools.lru_cache(maxsize=1)
def sinusoid_table():
    """Mel power of a sinusoid of power 1 under a Hann window, (pitches, 128) float32.

    Eight pitches per semitone, from A0 up to 11025 Hz. All notes use it; it is computed once per process (30 ms).
    """
    n_pitches = int((69 + 12 * np.log2(SAMPLE_RATE / 2 / 440) - LOWEST_PITCH) * STEPS_PER_SEMITONE)
    pitch = LOWEST_PITCH + np.arange(n_pitches) / STEPS_PER_SEMITONE
    centre = 440 * 2 ** ((pitch - 69) / 12) * N_FFT / SAMPLE_RATE  # in bins
    distance = np.arange(N_FFT // 2 + 1) - centre[:, None] + 1e-6  # in bins; never exactly 1
    window = np.sinc(distance) / (1 - distance**2)  # spectrum of the Hann window
    return (window**2 @ mel_filters().T).astype(np.float32)


def table_rows(pitch):
    """Indices into sinusoid_table for pitches in MIDI semitones (any shape), clipped to its range."""
    rows = np.rint((pitch - LOWEST_PITCH) * STEPS_PER_SEMITONE).astype(int)
    return np.clip(rows, 0, len(sinusoid_table()) - 1)


def smooth_curve(rng, std, knots=7):
    """A random smooth curve in dB over the mel bands, (128,), like that of a room, a microphone or an equaliser."""
    return np.interp(np.arange(N_MELS), np.linspace(0, N_MELS - 1, knots), rng.normal(0, std, knots))


def harmonic_gains(pitch, instrument, brightness):
    """Power of each harmonic of notes, (N, 48); pitch: (N,) in MIDI semitones, brightness: dB per octave."""
    slope, even, highest, *_ = INSTRUMENTS[instrument]
    number = np.arange(1, N_HARMONICS + 1)
    gains = (slope + brightness) * np.log2(number) + np.where(number % 2 == 0, even, 0)
    frequency = 440 * 2 ** ((np.asarray(pitch)[:, None] - 69) / 12) * number
    gains = gains - 24 * np.maximum(0, np.log2(frequency / highest))
    return np.where(frequency < SAMPLE_RATE / 2, 10 ** (gains / 10), 0)


def note_templates(pitches, instrument, brightness, rng):
    """Mel power (N, 128) with sum 1 and chroma (N, 12) with maximum 1 of notes at `pitches` (N,).

    The timbre of the voice varies at random.
    """
    gains = harmonic_gains(pitches, instrument, brightness) * 10 ** (rng.normal(0, 4, N_HARMONICS) / 10)
    gains = gains / gains.sum(1, keepdims=True)
    overtones = np.asarray(pitches)[:, None] + 12 * np.log2(np.arange(1, N_HARMONICS + 1))
    mel = np.einsum("nh,nhb->nb", gains, sinusoid_table()[table_rows(overtones)])
    classes = np.rint(overtones).astype(int) % 12
    chroma = np.stack([np.where(classes == c, np.sqrt(gains), 0).sum(1) for c in range(12)], axis=1)
    return mel / mel.sum(1, keepdims=True), chroma / chroma.max(1, keepdims=True)


def envelopes(onset, duration, level, n_frames, attack, decay, release):
    """Power over the frames, (N, n_frames), of events; onset and duration in s and level in dB are (N,) each."""
    time = np.arange(n_frames, dtype=np.float32) * (HOP_LENGTH / SAMPLE_RATE) - onset[:, None].astype(np.float32)
    hop = HOP_LENGTH / SAMPLE_RATE
    started = np.clip(time / hop + 0.5, 0, 1)  # a frame with an onset in it gets a part of the power
    inside = np.maximum(time, 0)
    tail = np.maximum(time - duration[:, None].astype(np.float32), 0)
    shape = np.exp(-2 * inside / decay - 2 * tail / release) * (1 - np.exp(-(inside + hop / 2) / attack)) ** 2
    return started * shape * (10 ** (level / 10)).astype(np.float32)[:, None]


def render_notes(voice, n_frames, rng):
    """A voice's notes -> mel power (128, T), chroma amplitude (12, T), power of the pick, bow or breath noise (T,)."""
    *_, attack, decay, release, noise = INSTRUMENTS[voice.instrument]
    onset, duration, pitch, level = voice.notes.T
    pitches, which = np.unique(pitch, return_inverse=True)
    mel, chroma = note_templates(pitches, voice.instrument, voice.brightness, rng)
    power = np.zeros((2, len(pitches), n_frames), np.float32)
    body = envelopes(onset, duration, level, n_frames, attack, decay, release)
    # high harmonics rise and decay faster
    edge = envelopes(onset, duration, level, n_frames, attack / 2, decay / 3, release / 2)
    for k in range(len(pitches)):
        power[0, k], power[1, k] = body[which == k].sum(0), edge[which == k].sum(0)
    high = 1 / (1 + np.exp(-(np.arange(N_MELS) - 40) / 10))
    sound = (mel * (1 - high)).T @ power[0] + (mel * high).T @ power[1]
    return sound, chroma.T @ np.sqrt(power[0]), edge.sum(0) * 10 ** (noise / 10)


def render_line(voice, n_frames, rng):
    """A gliding voice (sung, bowed or blown) -> the same as render_notes.

    The harmonics follow pitch and vowels frame by frame.
    """
    *_, attack, decay, release, noise = INSTRUMENTS[voice.instrument]
    frames = np.arange(n_frames) * (HOP_LENGTH / SAMPLE_RATE)
    current = np.searchsorted(voice.notes[:, 0], frames, side="right") - 1
    onset, duration, target, level = voice.notes[np.maximum(current, 0)].T
    since = frames - onset
    previous = voice.notes[np.maximum(current - 1, 0), 2]
    glide = (previous - target) * np.exp(-since / voice.glide)
    pitch = target + glide - voice.fall * since / np.maximum(duration, 0.05)
    pitch = pitch + voice.vibrato * np.sin(2 * np.pi * 5.5 * frames) * (since > 0.15)  # singers' vibrato: 5 to 6 Hz
    power = np.where(current < 0, 0, 10 ** (level / 10) * (1 - np.exp(-(since + 0.01) / attack)) ** 2)
    power = power * np.exp(-2 * since / decay - 2 * np.maximum(since - duration, 0) / release)
    gains = harmonic_gains(pitch, voice.instrument, voice.brightness) * 10 ** (rng.normal(0, 3, N_HARMONICS) / 10)
    overtones = pitch[:, None] + 12 * np.log2(np.arange(1, N_HARMONICS + 1))
    if voice.instrument == "voice":
        vowel = VOWELS[rng.integers(len(VOWELS), size=len(voice.notes))] * rng.uniform(0.95, 1.25)
        formants = np.log2(vowel)[np.maximum(current, 0)]  # (T, 3)
        octave = np.log2(440 * 2 ** ((overtones - 69) / 12))
        peaks = [np.exp(-(((octave - formants[:, k : k + 1]) / 0.16) ** 2)) for k in range(3)]
        gains = gains * sum(w * peak for w, peak in zip((6, 4, 3), peaks, strict=True)) + 0.02 * gains
    gains = (gains / (gains.sum(1, keepdims=True) + 1e-12)).astype(np.float32)
    indices, mel = table_rows(overtones), np.zeros((n_frames, N_MELS), np.float32)
    for h in range(N_HARMONICS):
        mel += gains[:, h, None] * sinusoid_table()[indices[:, h]]
    mel *= (power / (mel.sum(1) + 1e-9))[:, None]
    chroma = (np.arange(12)[:, None] == np.rint(pitch).astype(int) % 12) * np.sqrt(power)
    return mel.T, chroma, power * np.exp(-since / 0.05) * 10 ** (noise / 10)


def render_drums(track, rng):
    """All drum hits -> mel power (128, T). Centres, levels and decays of the drums vary from track to track."""
    bands, mel = np.arange(N_MELS), np.zeros((N_MELS, track.n_frames))
    centres = mel_frequencies(N_MELS + 2)[1:-1]
    for name, hits in track.hits.items():
        peaks, decay = DRUMS[name]
        decay = decay * np.exp(rng.normal(0, 0.25))
        template = np.zeros(N_MELS)
        for hz, width, level in peaks:
            centre = np.interp(hz * np.exp(rng.normal(0, 0.12)), centres, bands)
            template += 10 ** ((level + rng.normal(0, 2)) / 10) * np.exp(-0.5 * ((bands - centre) / width) ** 2)
        power = envelopes(hits[:, 0], np.full(len(hits), 60.0), hits[:, 1], track.n_frames, 0.001, decay, 1.0)
        mel += template[:, None] * power.sum(0)
    return mel


def fluctuation(rng, shape, std, taps):
    """Log-normal factors of the power, of shape (N, T); std: (N,) in dB; correlated over `taps` frames.

    Windows of neighbouring frames overlap by three quarters, so real noise fluctuates slower than the frames.
    """
    kernel = np.hanning(taps + 2)[1:-1]
    kernel = (kernel / np.sqrt((kernel**2).sum())).astype(np.float32)
    raw = rng.standard_normal((shape[0], shape[1] + taps - 1), dtype=np.float32)
    smooth = sum(k * raw[:, i : i + shape[1]] for i, k in enumerate(kernel))
    return 10 ** (smooth * (std[:, None] / 10).astype(np.float32))


def add_reverb(power, seconds, wet):
    """Power (N, T) with an exponential reverb tail that falls by 60 dB in `seconds`; wet: its level."""
    keep = 10 ** (-6 * HOP_LENGTH / SAMPLE_RATE / seconds)
    tail, last = np.empty_like(power), np.zeros(len(power), power.dtype)
    for t in range(power.shape[1]):
        last = keep * last + (1 - keep) * power[:, t]
        tail[:, t] = last
    return power + wet * tail


def mix(track, rng):
    """A track -> mel power (128, T) float64, and chroma (12, T) with maximum 1 in each frame."""
    shape = (N_MELS, track.n_frames)
    tonal, chroma, noise = np.zeros(shape), np.zeros((12, track.n_frames)), np.zeros(track.n_frames)
    for voice in track.voices:
        sound, classes, breath = (render_line if voice.gliding else render_notes)(voice, track.n_frames, rng)
        tonal = tonal + sound * 10 ** (smooth_curve(rng, 3) / 10)[:, None]
        chroma, noise = chroma + classes, noise + breath
    drums = render_drums(track, rng)
    if track.pump and len(track.hits.get("kick", ())):
        onset = track.hits["kick"][:, 0]
        duration, level = np.full(len(onset), 9.0), np.zeros(len(onset))
        kicks = envelopes(onset, duration, level, track.n_frames, 0.001, 0.25, 1.0).sum(0)
        tonal = tonal / (1 + track.pump * kicks)  # sidechain compression by the bass drum, as in dance music
    bins = mel_filters().astype(bool).sum(1)
    tonal *= fluctuation(rng, shape, np.full(N_MELS, 3.0), 5)
    hiss = 10 ** ((np.linspace(-4, -12, N_MELS) + smooth_curve(rng, 3)) / 10)[:, None]
    noise_std = 5.5 / np.sqrt(bins / 4)  # noise in few bins fluctuates more
    drums = (drums + hiss * noise) * fluctuation(rng, shape, noise_std, 3)
    power = add_reverb(tonal + drums, track.room_seconds, track.room)
    power = compress(power, track.squeeze) * 10 ** (track.gain / 10)
    floor = 10 ** ((track.noise_db + np.linspace(6, -8, N_MELS)[:, None]) / 10) * power.max()
    power = power + floor * fluctuation(rng, shape, noise_std, 3)
    power = power * 10 ** (master_curve(track, rng) / 10)[:, None]
    power = smooth(power, 3)  # the analysis window is four hops long
    beating = fluctuation(rng, shape, np.full(N_MELS, 4.4), 4)  # between partials, or echoes, in the same band
    power *= smooth(beating.T, 3).T  # neighbouring bands share bins
    unpitched = 0.5 * np.sqrt(drums.sum(0)) * fluctuation(rng, chroma.shape, np.full(12, 2.0), 7)
    amount = chroma * fluctuation(rng, chroma.shape, np.full(12, 1.5), 7) + unpitched
    amount = smooth(amount, 7) + 0.08 * np.sqrt(tonal.sum(0).mean())
    return power, amount / amount.max(0)


def smooth(array, taps):
    """An array (N, T), averaged over `taps` (odd) frames under a Hann window, as by windows longer than a hop."""
    kernel = np.hanning(taps + 2)[1:-1] / np.hanning(taps + 2).sum()
    padded = np.pad(array, ((0, 0), (taps // 2, taps // 2)), mode="edge")
    return sum(weight * padded[:, i : i + array.shape[1]] for i, weight in enumerate(kernel))


def compress(power, ratio):
    """Dynamic range compression of power (128, T): each frame's level moves to the mean level, by 0 (not) to 1."""
    level = 10 * np.log10(power.sum(0) + 1e-6)
    return power * 10 ** (ratio * np.clip(level.mean() - level, -15, 15) / 10)


def master_curve(track, rng):
    """The frequency response of the recording in dB over the mel bands, (128,): tilt, EQ, low-pass and high-pass."""
    centres = mel_frequencies(N_MELS + 2)[1:-1]
    # the average slope of recorded music
    fall = -1.6 * np.maximum(0, np.log2(centres / 200)) - 4 * np.maximum(0, np.log2(centres / 4000))
    cut = -36 * np.maximum(0, np.log2(centres / track.cutoff)) - 12 * np.maximum(0, np.log2(track.lowcut / centres))
    edge = -14 * np.maximum(0, (centres - 10000) / 1000)  # of the resampler
    return fall + cut + edge + track.tilt * np.log2(centres / 800) + smooth_curve(rng, 4)


def to_db(power):
    """Power -> dB re the array's maximum, with a floor at -80, as librosa.power_to_db(ref=np.max, top_db=80)."""
    level = 10 * np.log10(np.maximum(power, 1e-30))
    return np.maximum(level - level.max(), -TOP_DB)


def beat_medians(array, beats):
    """Medians between beats: (N, T) -> (N, beats + 1); beats: increasing frames in 1..T-1."""
    return np.stack([np.median(part, axis=1) for part in np.split(array, beats, axis=1)], axis=1)


def render(track, rng):
    """A Track -> features at full length (140, T) and beat-synced (140, beats + 1), both float32.

    The first 128 are mel bands in dB, the last 12 chroma bins in 0..1.
    """
    power, chroma = mix(track, rng)
    full = np.vstack([to_db(power), chroma])
    synced = np.vstack([to_db(beat_medians(power, track.beats)), beat_medians(chroma, track.beats)])
    return full.astype(np.float32), synced.astype(np.float32)
