"""The tuned recipe and the models without a network: see tests/planted.py."""

from planted import Fault

TESTS_1 = (
    "test_numbers_tuned.py::test_each_network_is_trained_from_its_own_seed "
    "test_numbers_tuned.py::test_input_is_standardised_by_the_training_clips "
    "test_numbers_tuned.py::test_networks_alone_are_the_mean_of_their_probabilities "
    "test_numbers_tuned.py::test_networks_kernel_ridge_and_trees_together "
    "test_numbers_tuned.py::test_genre_results"
)
TESTS_2 = (
    "test_numbers_tuned.py::test_axes_networks_are_trained_in_the_units_of_each_axis "
    "test_numbers_tuned.py::test_axes_of_the_networks_and_of_all_together "
    "test_numbers_tuned.py::test_submission_of_the_networks "
    "test_numbers_tuned.py::test_axes_results"
)
TESTS_3 = (
    "test_numbers_baselines.py::test_genres "
    "test_numbers_baselines.py::test_kept_predictions_are_read "
    "test_numbers_baselines.py::test_changed_labels_give_new_scores"
)
TESTS_4 = (
    "test_numbers_baselines.py::test_three_axes "
    "test_numbers_baselines.py::test_kept_predictions_below_the_networks "
    "test_numbers_baselines.py::test_one_axis"
)

FAULTS = [
    Fault(
        "tuned",
        "schedule: a batch order that is the same for every network",
        "train_networks",
        "shuffle=True, seed=seed + 1000 * number",
        "shuffle=True, seed=seed",
        TESTS_1,
    ),
    Fault(
        "tuned",
        "networks begin alike",
        "train_networks",
        "torch.manual_seed(seed + 1000 * number)",
        "torch.manual_seed(seed)",
        TESTS_1,
    ),
    Fault(
        "tuned",
        "last network alone",
        "compete.py:genres",
        "torch.stack([test.outputs.softmax(dim=1) for test in tests])",
        "torch.stack([test.outputs.softmax(dim=1) for test in tests[-1:]])",
        TESTS_1,
    ),
    Fault(
        "tuned",
        "kernel ridge and trees predict training clips",
        "compete.py:genres",
        "song_statistics(test_set)",
        "song_statistics(torch.utils.data.Subset(train_set, range(len(test_set))))",
        TESTS_1,
    ),
    Fault(
        "tuned",
        "spectral tilt of the test clips",
        "compete.py:genres",
        "song_statistics(test_set)",
        "song_statistics(test_set, tilt=True)",
        TESTS_1,
    ),
    Fault("tuned", "temperature", "TEMPERATURE", "0.15", "0.2", TESTS_1),
    Fault(
        "tuned",
        "lstm: weight decay of Adam",
        "train_networks",
        "torch.optim.AdamW",
        "torch.optim.Adam",
        "test_numbers_tuned.py::test_lstm_with_other_choices",
    ),
    Fault(
        "tuned",
        "lstm: warm-up of the learning rate twice as long",
        "one_cycle",
        "epochs // 10",
        "epochs // 5",
        "test_numbers_tuned.py::test_lstm_with_other_choices",
    ),
    Fault(
        "tuned",
        "one scale for three axes",
        "emotion_loss",
        ".std(dim=0).clamp(min=1e-3)",
        ".std(dim=0).mean().expand(3).clamp(min=1e-3)",
        TESTS_2,
    ),
    Fault(
        "tuned",
        "step 10: first network alone",
        "emotion_values",
        "torch.stack([test.outputs for test in tests]).mean(dim=0)",
        "tests[0].outputs",
        TESTS_2,
    ),
    Fault(
        "tuned",
        "submission in reverse",
        "compete.py:emotions",
        "values[args.members].tolist()",
        "values[args.members].flip(0).tolist()",
        TESTS_2,
    ),
    Fault(
        "tuned",
        "standardised by all clips",
        "backbone_for",
        "for index in indices])",
        "for index in range(len(base.ids))])",
        TESTS_2,
    ),
    Fault(
        "baselines",
        "quantiles of the test clips too",
        "normal_scores",
        ".fit(train_inputs)",
        ".fit(np.concatenate([train_inputs, test_inputs]))",
        TESTS_3,
    ),
    Fault(
        "baselines",
        "fitted on the validation clips alone",
        "report_baselines",
        "for split in splits[:2]",
        "for split in splits[1:2]",
        TESTS_3,
    ),
    Fault(
        "baselines",
        "above and below turned",
        "CLAIMS",
        '"yes": "above", "no": "below"',
        '"yes": "below", "no": "above"',
        TESTS_3,
    ),
    Fault(
        "baselines",
        "not paired",
        "report_baselines",
        "[[(score, true, predicted, theirs)]]",
        "[[(score, true, predicted, theirs[::-1])]]",
        TESTS_3,
    ),
    Fault(
        "baselines",
        "key without the axis",
        "report_baselines",
        "[data, base.folder.name, axis]",
        "[data, base.folder.name]",
        TESTS_4,
    ),
    Fault("baselines", "column of the wrong axis", "of_axis", "[:, column]", "[:, 0]", TESTS_4),
    Fault("baselines", "kept without the ids", "kept_predictions", "_{ids}.{KEPT}", ".{KEPT}", TESTS_4),
    Fault(
        "baselines",
        "folds not shuffled",
        "chosen_model",
        "KFold(FOLDS, shuffle=True, random_state=0)",
        "KFold(FOLDS)",
        TESTS_3,
    ),
    Fault(
        "baselines",
        "key with another folder's data",
        "report_baselines",
        'startswith(f"{base.folder.name}=")',
        'startswith("")',
        "test_expectations.py",
    ),
    Fault(
        "baselines",
        "key without the data",
        "report_baselines",
        "[data, base.folder.name, axis]",
        "[base.folder.name, axis]",
        TESTS_3,
    ),
    Fault(
        "tuned",
        "step 10: label means of the head by another axis",
        "emotion_network",
        "labels.mean(dim=0)",
        "labels.mean(dim=0).flip(0)",
        TESTS_2,
    ),
    Fault(
        "tuned",
        "weights of error and correlation exchanged",
        "error_and_correlation_loss",
        "(1 - weight) * error + weight",
        "weight * error + (1 - weight)",
        TESTS_2,
    ),
    Fault("tuned", "trees choose from more features", "MAX_FEATURES", "0.2", "0.3", TESTS_2),
    Fault("tuned", "fluctuation's percentile", "block_features", "64)), 60, axis", "64)), 50, axis", TESTS_2),
    Fault(
        "tuned",
        "label smoothing left out",
        "compete.py:genres",
        'nn.CrossEntropyLoss(label_smoothing=RECIPE["label_smoothing"])',
        "nn.CrossEntropyLoss()",
        TESTS_1,
    ),
    Fault(
        "tuned",
        "RESULT of networks under both names",
        "compete.py:genres",
        'report_genres(run, "networks, kernel ridge and extra trees", splits, ensemble)',
        'report_genres(run, "networks, kernel ridge and extra trees", splits, networks)',
        TESTS_1,
    ),
    Fault(
        "tuned",
        "per-clip mean subtraction in both networks",
        "train_networks",
        "if number % 2 == 0 else 0.0",
        "if number % 2 < 2 else 0.0",
        TESTS_1,
    ),
]
