"""The words of the page: the assignment's questions by step, and cited answers to those that no figure can answer."""

from typing import NamedTuple


class Section(NamedTuple):
    """One step of the write-up as a section of the page; `script` makes its runs."""

    number: str
    title: str
    script: str
    question: str

    @property
    def anchor(self):
        return f"step{self.number}"

    @property
    def step(self):
        return self.script.removesuffix(".py")


class Cited(NamedTuple):
    """A question of the assignment, the answer in a sentence or two, and the publications that it leans on."""

    question: str
    answer: str
    sources: tuple[str, ...]


SECTIONS = (
    Section("0", "The data", "step0_data.py", "How many clips are there, of how many genres, and how many with emotion labels?"),
    Section(
        "1", "Mel spectrograms", "step1_visualize.py",
        "Two clips of different genres: what do their mel spectrograms show on each axis, and how do the two differ?",
    ),
    Section(
        "2", "Time steps and beats", "step1_visualize.py",
        "How many time steps has a clip, can an LSTM be trained on so many, and what does a spectrogram merged between beats keep?",
    ),
    Section("3", "Chromagrams", "step1_visualize.py", "The same for chromagrams: what do they show, at full length and beat-synchronised?"),
    Section(
        "4", "Dataset and classes", "step1_visualize.py",
        "What does the given Dataset hand out, why does its table merge and drop genres, and how do the histograms change?",
    ),
    Section(
        "5", "LSTMs", "step5_lstm.py",
        "Train an LSTM on mel spectrograms (a), beat-synchronised ones (b), chromagrams (c) and mel with chroma (d).",
    ),
    Section(
        "6", "Evaluation of the LSTMs", "step5_lstm.py",
        "Accuracy, and precision, recall and F1 by class, macro and micro, on the test split: what do they mean, what do they say?",
    ),
    Section("7a", "A look inside a CNN", "step7a_look_inside.py", "What do the layers of a trained convolutional network compute?"),
    Section(
        "7b-d", "A CNN on spectrograms", "step7_cnn.py",
        "Train a CNN of four stages on mel spectrograms as images (b), explain its operations (c) and compare it with the LSTM (d).",
    ),
    Section(
        "8", "Valence, energy and danceability", "step8_regression.py",
        "Turn the best LSTM and the CNN into regressors and report Spearman's rank correlation for each axis and its mean.",
    ),
    Section(
        "9", "Transfer learning", "step9_transfer.py",
        "Train the CNN on the genres, fine-tune its best epoch on one axis, and compare with step 8.",
    ),
    Section(
        "10", "Multitask learning", "step10_multitask.py",
        "Train one network for all three axes on the weighted sum of their losses, and compare with step 8.",
    ),
)  # fmt: skip

CITED = {
    "1": (
        Cited(
            "1c: what does a mel spectrogram show?",
            "Time runs to the right, frequency upwards in 128 bands spaced by the mel scale, on which equal steps sound equally large, so "
            "that low notes get more bands than on a scale in hertz; the colour is the band's power in dB below the clip's loudest "
            "value.",
            ("Stevens, Volkmann and Newman, A Scale for the Measurement of the Psychological Magnitude Pitch, 1937",),
        ),
    ),
    "2": (
        Cited(
            "2b: what does beat synchronisation keep?",
            "Each column is the median of the frames between two beats: what sounds on a beat stays, with whatever is steady between "
            "beats, while attacks and everything faster than the beat are lost, and the tempo with them, since all columns are drawn "
            "equally wide.",
            (
                "Ellis and Poliner, Identifying Cover Songs with Chroma Features and Dynamic Programming Beat Tracking, 2007",
            ),
        ),
    ),
    "3": (
        Cited(
            "3: what does a chromagram show?",
            "It folds all octaves into the twelve semitones, C to B, and shows how strong each is over time: harmony and melody stay, "
            "while the octave is lost and timbre nearly so, which is why it follows chords well and tells little of instruments or "
            "genres.",
            (
                "Fujishima, Realtime Chord Recognition of Musical Sound: a System Using Common Lisp Music, 1999",
                "Bartsch and Wakefield, To Catch a Chorus: Using Chroma-Based Representations for Audio Thumbnailing, 2001",
            ),
        ),
    ),
    "6": (
        Cited(
            "6: what do the metrics mean?",
            "Precision is the share of a class's predictions that are right, recall the share of its clips that are found, F1 their "
            "harmonic mean; accuracy is the share of all clips that are right. The macro average counts every class alike, the micro "
            "average every clip, so they part where classes differ in size and small ones fare worse.",
            ("Sokolova and Lapalme, A systematic analysis of performance measures for classification tasks, 2009",),
        ),
        Cited(
            "6: when does precision matter more than recall?",
            "Where a false alarm is what costs, as in letting a stranger in; recall where a miss costs, as in a diagnosis; then accuracy "
            "and F1, which weigh both alike, do not suffice. Here neither error is worse than the other, so macro F1 beside accuracy "
            "does.",
            ("Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, chapter 8",),
        ),
    ),
    "7b-d": (
        Cited(
            "7c: what does convolution do?",
            "It looks for one small pattern at every place of the image with the same few weights, so that a pattern is learnt once and "
            "found wherever it occurs, and neighbourhood is kept.",
            ("LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, 1998",),
        ),
        Cited(
            "7c: what does batch normalisation do?",
            "It brings each channel to zero mean and unit variance over the batch, then scales and shifts it by two learnt numbers; "
            "higher rates become possible, training is faster, and the batch's chance adds some regularisation.",
            (
                "Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift, 2015",
            ),
        ),
        Cited(
            "7c: what does ReLU do?",
            "It replaces negative values by zero; without some such non-linearity the stages would collapse into one linear map, and its "
            "slope of one lets gradients pass where a sigmoid flattens them.",
            ("Glorot, Bordes and Bengio, Deep Sparse Rectifier Neural Networks, 2011",),
        ),
        Cited(
            "7c: what does max pooling do?",
            "It keeps the largest value of each small window: later stages see more of the image at a quarter of the cost, and a pattern "
            "may move a little without changing what follows.",
            (
                "Scherer, Müller and Behnke, Evaluation of Pooling Operations in Convolutional Architectures for Object Recognition, 2010",
            ),
        ),
    ),
    "9": (
        Cited(
            "9a: how transferable are a network's features?",
            "First layers learn general features and last layers specific ones; transfer suffers from that specialisation and from "
            "splitting layers that had adapted to each other, yet starting from transferred features was better than starting from random "
            "ones, even when the tasks were far apart and after fine-tuning.",
            ("Yosinski, Clune, Bengio and Lipson, How transferable are features in deep neural networks?, 2014",),
        ),
        Cited(
            "9b: why the CNN?",
            "It sees the spectrogram as an image and finds what it has learnt anywhere in it, and features of a CNN that learnt music "
            "tags have been shown to carry over to genre and emotion. Whether it is also the better model here is answered under step 8.",
            ("Choi, Fazekas, Sandler and Cho, Transfer learning for music classification and regression tasks, 2017",),
        ),
    ),
    "10": (
        Cited(
            "10a (the write-up's 9b): can one model learn many tasks?",
            "One network was trained at once on image classification, captioning, translation, parsing and speech recognition: tasks with "
            "little data gained most from being trained with the others, and those with much data lost little or nothing.",
            (
                "Kaiser, Gomez, Shazeer, Vaswani, Parmar, Jones and Uszkoreit, One Model To Learn Them All, 2017",
                "Caruana, Multitask Learning, 1997",
            ),
        ),
    ),
}
