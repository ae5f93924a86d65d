"""The write-up's figures as data, by step: measured by its authors in 2020-21 on the lab's 575 test clips.

None of them is a target for other data; the steps print them beside their own, and say so where the data are not the lab's.
"""

STEP5_LSTM = {  # step 6's reports of the four LSTMs of step 5; val_acc is the last epoch's in the log of step 5
    "mel": {"test_acc": 0.23, "test_f1_macro": 0.09, "val_acc": 0.2566},
    "beat": {"test_acc": 0.32, "test_f1_macro": 0.19, "val_acc": 0.3382},
    "chroma": {"test_acc": 0.18, "test_f1_macro": 0.03, "val_acc": 0.1882},
    "fused": {"test_acc": 0.31, "test_f1_macro": 0.18, "val_acc": 0.3026},
}

STEP7_CNN = {"test_acc": 0.4435, "val_acc": 0.4697}  # step 7b: 255 of 575; validation at the last of its 25 epochs

NOT_COMPARABLE = "not comparable: the write-up's figures are of the lab's 575 test clips, these data are others"
