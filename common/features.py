"""What the rows of a spectrogram file are, and the constants of the course's extractor that made them."""

N_MELS = 128  # rows 0..127 of a file: mel spectrogram, dB below the clip's maximum
N_CHROMA = 12  # rows 128..139: chromagram, each frame's largest note 1
N_FEATURES = N_MELS + N_CHROMA
SAMPLE_RATE = 22050  # Hz, librosa's default, which the course's extractor kept
HOP_LENGTH = 512  # samples from one frame to the next, likewise
NOTES = ("C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯", "A", "A♯", "B")
COLUMNS = {
    "mel": slice(0, N_MELS),
    "chroma": slice(N_MELS, N_FEATURES),
    "fused": slice(0, N_FEATURES),
}  # columns once frames are rows
