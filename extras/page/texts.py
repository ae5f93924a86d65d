"""The texts of the page: the assignment's questions by step, and cited answers to those that no number can answer."""

from typing import NamedTuple


class Section(NamedTuple):
    """One step of the write-up as a section of the page; script: the file name of the step that makes its runs."""

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
    """A question of the assignment, the answer in a sentence or two, and the publications that it is based on."""

    question: str
    answer: str
    sources: tuple[str, ...]


SECTIONS = (
    Section(
        "0", "The data", "step0_data.py",
        "How many clips are there, of how many genres, and how many with emotion labels?",
    ),
    Section(
        "1", "Mel spectrograms", "step1_visualize.py",
        "Two clips of different genres: what do the axes of their mel spectrograms show, and how do the two differ?",
    ),
    Section(
        "2", "Time steps and beats", "step1_visualize.py",
        "How many time steps does a clip have, can an LSTM be trained on so many, and what does beat synchronisation "
        "keep?",
    ),
    Section(
        "3", "Chromagrams", "step1_visualize.py",
        "The same for chromagrams: what do they show, at full length and beat-synced?",
    ),
    Section(
        "4", "Dataset and classes", "step1_visualize.py",
        "What does the given Dataset return, why does its table merge and drop genres, and how do the histograms "
        "change?",
    ),
    Section(
        "5", "LSTMs", "step5_lstm.py",
        "Train an LSTM on mel spectrograms (a), beat-synced ones (b), chromagrams (c) and mel with chroma, fused (d).",
    ),
    Section(
        "6", "Evaluation of the LSTMs", "step5_lstm.py",
        "Accuracy, and precision, recall and F1 by class, macro and micro, on the test split: what do they mean and "
        "show?",
    ),
    Section(
        "7a", "A look inside a CNN", "step7a_look_inside.py",
        "What do the layers of a trained convolutional network compute?",
    ),
    Section(
        "7b-d", "A CNN on spectrograms", "step7_cnn.py",
        "Train a CNN of four stages on mel spectrograms as images (b), explain its operations (c) and compare it with "
        "the LSTM (d).",
    ),
    Section(
        "7.2", "A transformer (later years)", "step7_ast.py",
        "Train an audio spectrogram transformer on mel spectrograms and compare it with the CNN; the write-up has none.",
    ),
    Section(
        "8", "Valence, energy and danceability", "step8_regression.py",
        "Turn the best LSTM and the CNN into regressors and report Spearman's rank correlation for each axis and its "
        "mean.",
    ),
    Section(
        "9", "Transfer learning", "step9_transfer.py",
        "Train the CNN on the genres, fine-tune its best epoch on one axis, and compare with step 8.",
    ),
    Section(
        "10", "Multitask learning", "step10_multitask.py",
        "Train one network for all three axes on the weighted sum of their losses, and compare with step 8.",
    ),
    Section(
        "11", "The latent space (later years)", "step11_latent.py",
        "What do the trained networks' features of the test clips look like, and is there more in them than in those of "
        "an untrained network? The write-up does not ask.",
    ),
)  # fmt: skip

CITED = {
    "1": (
        Cited(
            "1c: what does a mel spectrogram show?",
            "Time runs to the right, frequency upwards in 128 bands that are evenly spaced on the mel scale, on which "
            "equal steps sound equally large, so that low notes get more bands than on a scale in Hz; the colour is "
            "the band's power in dB re clip maximum.",
            ("Stevens, Volkmann and Newman, A Scale for the Measurement of the Psychological Magnitude Pitch, 1937",),
        ),
    ),
    "2": (
        Cited(
            "2b: what does beat synchronisation keep?",
            "Each column is the median of the frames between two beats. Sounds that last from beat to beat stay. "
            "Attacks and everything faster than the beat are lost, and so is the tempo, since all columns are equally "
            "wide.",
            (
                "Ellis and Poliner, Identifying Cover Songs with Chroma Features and Dynamic Programming Beat "
                "Tracking, 2007",
            ),
        ),
    ),
    "3": (
        Cited(
            "3: what does a chromagram show?",
            "It folds all octaves into the twelve pitch classes, C to B, and shows how strong each is over time. "
            "Harmony and melody stay, the octave and most of the timbre are lost: it follows chords well but shows "
            "little of instruments or genres.",
            (
                "Fujishima, Realtime Chord Recognition of Musical Sound: a System Using Common Lisp Music, 1999",
                "Bartsch and Wakefield, To Catch a Chorus: Using Chroma-Based Representations for Audio Thumbnailing, "
                "2001",
            ),
        ),
    ),
    "6": (
        Cited(
            "6: what do the metrics mean?",
            "Precision is the fraction of a class's predictions that are correct, recall the fraction of its clips "
            "that are found, F1 their harmonic mean; accuracy is the fraction of all clips that are classified "
            "correctly. The macro average weights every class equally, the micro average every clip, so they differ "
            "where small classes are recognised less well than large ones.",
            ("Sokolova and Lapalme, A systematic analysis of performance measures for classification tasks, 2009",),
        ),
        Cited(
            "6: when does precision matter more than recall?",
            "Precision matters more where a false positive is costly, as in a spam filter, and recall where a false "
            "negative is, as in a diagnosis; accuracy and F1 weight both equally. Here neither error is worse than "
            "the other, so accuracy and macro F1 are enough.",
            ("Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, chapter 8",),
        ),
    ),
    "7b-d": (
        Cited(
            "7c: what does convolution do?",
            "It looks for one small pattern at every position of the image with the same few weights, so that a "
            "pattern is learnt once and found wherever it occurs; what is next to each other stays next to each other.",
            ("LeCun, Bottou, Bengio and Haffner, Gradient-Based Learning Applied to Document Recognition, 1998",),
        ),
        Cited(
            "7c: what does batch normalisation do?",
            "It brings each channel to zero mean and unit variance over the batch, then scales and shifts it by two "
            "learnt parameters. Higher learning rates become possible, training is faster, and the random batches add "
            "some regularisation.",
            (
                "Ioffe and Szegedy, Batch Normalization: Accelerating Deep Network Training by Reducing Internal "
                "Covariate Shift, 2015",
            ),
        ),
        Cited(
            "7c: what does ReLU do?",
            "It replaces negative values by zero. Without a non-linearity the stages would be one linear map; and as "
            "its slope is one for positive values, gradients do not vanish in it as in a sigmoid.",
            ("Glorot, Bordes and Bengio, Deep Sparse Rectifier Neural Networks, 2011",),
        ),
        Cited(
            "7c: what does max pooling do?",
            "It keeps the largest value of each small window: later stages see more of the image at a quarter of the "
            "cost, and a pattern may move a little without changing the output.",
            (
                "Scherer, Müller and Behnke, Evaluation of Pooling Operations in Convolutional Architectures for "
                "Object Recognition, 2010",
            ),
        ),
    ),
    "9": (
        Cited(
            "9a: how transferable are a network's features?",
            "First layers learn general features and last layers specific ones. Transfer suffers from that "
            "specialisation and from splitting layers that had adapted to each other; yet transferred features were a "
            "better start than random ones, even for distant tasks and after fine-tuning.",
            ("Yosinski, Clune, Bengio and Lipson, How transferable are features in deep neural networks?, 2014",),
        ),
        Cited(
            "9b: why the CNN?",
            "It sees the spectrogram as an image and finds a learnt pattern anywhere in it, and the features of a CNN "
            "trained on music tags have been shown to transfer to genre and emotion. Whether it is also the better "
            "model here is answered in step 8.",
            ("Choi, Fazekas, Sandler and Cho, Transfer learning for music classification and regression tasks, 2017",),
        ),
    ),
    "10": (
        Cited(
            "10a (the write-up's 9b): can one model learn many tasks?",
            "One network was trained jointly on image classification, captioning, translation, parsing and speech "
            "recognition: tasks with little data gained most from the others, and those with much data lost little or "
            "nothing.",
            (
                "Kaiser, Gomez, Shazeer, Vaswani, Parmar, Jones and Uszkoreit, One Model To Learn Them All, 2017",
                "Caruana, Multitask Learning, 1997",
            ),
        ),
    ),
}
