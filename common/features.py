"""What a spectrogram file holds, and the constants of the course's feature extractor."""

N_MELS = 128  # the first 128 features of a frame: mel spectrogram, dB re clip maximum
N_CHROMA = 12  # the last 12: chromagram, the largest of each frame scaled to 1
N_FEATURES = N_MELS + N_CHROMA
SAMPLE_RATE = 22050  # Hz, librosa's default, which the course's extractor kept
HOP_LENGTH = 512  # samples from one frame to the next, likewise
NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
# features of a frame, in an array (T, 140)
COLUMNS = {"mel": slice(0, N_MELS), "chroma": slice(N_MELS, N_FEATURES), "fused": slice(0, N_FEATURES)}
