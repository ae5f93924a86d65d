"""The write-up's numbers by step, measured by its authors in 2020-21 on the lab's music.

The steps and the report print them next to their own, with a note where the data are not the lab's: they are no target
for other data. Accuracies, losses and correlations are rounded to four decimals; step 6's reports have two in the
write-up itself.
"""

# The clips that its numbers are measured on, as it states or as the numbers themselves imply.
TEST = "test, 575 clips"
VALIDATION = "validation, 760 clips"  # its accuracies are multiples of 1/760; a third of the lab's 2305
TRAINING = "training, 1545 clips"  # the rest of these
NOT_STATED = "not stated"  # steps 8 to 10: some of the labelled clips

CLASSES = ("Blues", "Classical", "Electronic", "Folk", "Hip-Hop", "Jazz", "Metal", "Pop", "Rock", "Trip-Hop")
SUPPORT = (40, 40, 80, 80, 40, 40, 78, 40, 103, 34)  # test clips of each class, the last column of step 6's reports

STEP0_DATA = {"genre_clips": 3834, "genres": 20, "multitask_clips": 1497}

STEP2_FRAMES = {"123947": (1291, 86), "14780": (1293, 63)}  # frames, and beats after synchronisation

STEP5_EPOCHS = 15
STEP5_LSTM = {  # test_...: step 6's reports; the others: last epoch in the logs of step 5
    "mel": {"test_acc": 0.23, "test_f1_macro": 0.09, "val_acc": 0.2566, "train_loss": 0.0853, "val_loss": 0.0854},
    "beat": {"test_acc": 0.32, "test_f1_macro": 0.19, "val_acc": 0.3382, "train_loss": 0.0784, "val_loss": 0.0788},
    "chroma": {"test_acc": 0.18, "test_f1_macro": 0.03, "val_acc": 0.1882, "train_loss": 2.2579, "val_loss": 2.2574},
    "fused": {"test_acc": 0.31, "test_f1_macro": 0.18, "val_acc": 0.3026, "train_loss": 0.0803, "val_loss": 0.0811},
}
# The write-up names the cross entropy for all four, but values near 0.09 can only be the squared error of the softmax.
STEP5_LOSSES = {"mel": "squared-error", "beat": "squared-error", "chroma": "cross-entropy", "fused": "squared-error"}

ZERO = (0.0, 0.0, 0.0)
STEP6_CLASSES = {  # (precision, recall, F1) of each of CLASSES
    "mel": (ZERO, (1.00, 0.03, 0.05), (0.19, 0.90, 0.32), (0.20, 0.05, 0.08), ZERO, ZERO, ZERO, ZERO, (0.32, 0.55, 0.41), ZERO),
    "beat": (
        ZERO, (0.29, 0.72, 0.41), (0.32, 0.66, 0.43), (0.32, 0.60, 0.41), ZERO, ZERO, (0.48, 0.26, 0.33), ZERO, (0.31, 0.34, 0.32), ZERO,
    ),
    "chroma": (*[ZERO] * 8, (0.18, 1.00, 0.30), ZERO),
    "fused": (
        ZERO, (0.30, 0.60, 0.40), (0.28, 0.74, 0.41), (0.37, 0.24, 0.29), ZERO, ZERO, (0.36, 0.55, 0.43), ZERO, (0.27, 0.30, 0.29), ZERO,
    ),
}  # fmt: skip
STEP6_AVERAGES = {  # the same for the macro and the weighted average; the micro average equals the accuracy
    "mel": {"macro": (0.17, 0.15, 0.09), "weighted": (0.18, 0.23, 0.13)},
    "beat": {"macro": (0.17, 0.26, 0.19), "weighted": (0.23, 0.32, 0.25)},
    "chroma": {"macro": (0.02, 0.10, 0.03), "weighted": (0.03, 0.18, 0.05)},
    "fused": {"macro": (0.16, 0.24, 0.18), "weighted": (0.21, 0.31, 0.23)},
}

STEP7A_DIGITS = {  # of ConvNetJS's network on one digit of MNIST
    "conv1": (
        "conv (24x24x8)", "filter size 5x5x1, stride 1", "max activation: 3.16037, min: -3.72928", "max gradient: 0.00348, min: -0.0059",
        "parameters: 8x5x5x1+8 = 208",
    ),
    "conv2": (
        "conv (12x12x16)", "filter size 5x5x8, stride 1", "max activation: 5.51828, min: -7.56196", "max gradient: 0.00348, min: -0.00605",
        "parameters: 16x5x5x8+16 = 3216",
    ),
    "softmax": ("softmax (1x1x10)", "max activation: 0.98764, min: 0.00001", "max gradient: 0, min: 0"),
}  # fmt: skip

STEP7_EPOCHS = 25
# test accuracy: 255 of 575; the others: last epoch
STEP7_CNN = {"test_acc": 0.4435, "val_acc": 0.4697, "train_loss": 0.0146}
STEP7_CONFUSION = (  # rows true, columns predicted, both in the order of CLASSES
    (3, 1, 0, 12, 5, 4, 4, 2, 8, 1),
    (0, 24, 5, 6, 0, 3, 1, 0, 0, 1),
    (0, 2, 50, 5, 2, 4, 5, 3, 4, 5),
    (4, 5, 2, 48, 2, 1, 4, 2, 12, 0),
    (0, 2, 5, 1, 16, 0, 1, 0, 6, 9),
    (1, 10, 5, 4, 2, 7, 2, 1, 3, 5),
    (0, 4, 5, 2, 0, 0, 52, 1, 11, 3),
    (0, 0, 3, 14, 2, 1, 4, 2, 11, 3),
    (0, 4, 11, 14, 2, 4, 28, 3, 35, 2),
    (0, 0, 6, 2, 1, 1, 1, 0, 5, 18),
)

STEP8_EPOCHS = {"lstm": 15, "cnn": 50}
STEP8_SPEARMAN = {  # the means are the write-up's own
    "lstm": {"valence": 0.0124, "energy": 0.1603, "danceability": 0.2108, "mean": 0.1278},
    "cnn": {"valence": 0.2792, "energy": 0.6176, "danceability": 0.3271, "mean": 0.4080},
}
# The last logged (training, validation) losses: of epoch 14 for the LSTM and 45 for the CNN, but the training losses of
# the last two are of epoch 40.
STEP8_LOSSES = {
    "lstm": {"valence": (0.0663, 0.0645), "energy": (0.0652, 0.0666), "danceability": (0.0316, 0.0285)},
    "cnn": {"valence": (0.0033, 0.0884), "energy": (0.0057, 0.0517), "danceability": (0.0080, 0.0485)},
}

STEP9_EPOCHS = 10
# 9c, test accuracy: 252 of 575; the others: last of 25 epochs
STEP9_GENRES = {"test_acc": 0.4383, "val_acc": 0.4513, "train_loss": 0.0144}
STEP9_CONFUSION = (
    (4, 0, 1, 17, 1, 2, 4, 0, 10, 1),
    (0, 22, 4, 7, 0, 4, 1, 0, 2, 0),
    (0, 1, 51, 5, 6, 2, 5, 1, 7, 2),
    (1, 5, 0, 55, 2, 2, 3, 0, 12, 0),
    (0, 1, 8, 3, 20, 1, 0, 0, 5, 2),
    (1, 9, 9, 9, 1, 3, 1, 0, 4, 3),
    (0, 2, 6, 3, 0, 0, 43, 1, 23, 0),
    (2, 0, 4, 15, 2, 1, 0, 2, 14, 0),
    (0, 1, 5, 13, 1, 3, 29, 2, 48, 1),
    (0, 0, 14, 8, 1, 1, 1, 0, 5, 4),
)
STEP9_SPEARMAN = {"valence": 0.4294}  # 9d: after transfer; the write-up compares it with step 8's CNN
STEP9_LOSSES = {"valence": (0.0294, 0.0827)}

STEP10_EPOCHS = 31
# The mean is computed here from its three values.
STEP10_SPEARMAN = {"valence": 0.1742, "energy": 0.5486, "danceability": 0.3660, "mean": 0.3629}
STEP10_LOSSES = (0.0117, 0.0816)  # weighted sums, training and validation, at epoch 30, the last one shown
