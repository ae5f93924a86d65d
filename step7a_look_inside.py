"""Step 7a: what happens inside a convolutional network, layer by layer: in ConvNetJS's digits network, then in step 7's genre CNN?

    python step7a_look_inside.py
    python step7a_look_inside.py --data DIR --clip 1042
    python step7a_look_inside.py --mnist DIR --checkpoint runs/step7_cnn/mel_seed0/best.pt

Part 2 needs a run of step7_cnn.py on the same data in --out, or its checkpoint by --checkpoint; without one part 1 stands alone.
Writes runs/step7a_look_inside/<digits or mnist>_seed<n>/: log, metrics and figures. About a minute on 2 CPU cores; uses no GPU.
"""

import time
from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from common.checkpoints import read_checkpoint
from common.cli import parse_arguments, reading_options, run_script, step_parser, variant_name, whole
from common.dataset import clip_ids, genre_sides
from common.digits import centre_crops, mnist_digits, random_crops, small_digits
from common.errors import LabError
from common.files import write_atomically
from common.inside import layer_lines, layer_table, look_inside, number_text, occlusion, occlusion_map, table_lines
from common.inside_plots import hertz_of_band, layers_figure, occlusion_figure, stages_figure, weights_figure
from common.labels import clip_id
from common.locations import find_data
from common.models import Classifier, CNNBackbone
