"""Pictures to measure (`ssim.py make FOLDER COUNT SIDE`), and the seconds that scikit-image takes for all pairs of them
(`ssim.py time FOLDER PAIRS`): two processes take PAIRS pairs each, and the rest is reckoned from these."""

import itertools
import multiprocessing
import random
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image


def make(folder, count, side):
    noise = np.random.default_rng(0)
    for i in range(count):
        small = noise.integers(0, 256, (max(side // 8, 2), max(side // 8, 2), 3), dtype=np.uint8)
        Image.fromarray(small).resize((side, side), Image.BICUBIC).save(Path(folder) / f"{i:04}.png")


def similarity(pair):
    from skimage.metrics import structural_similarity

    options = dict(channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
    return structural_similarity(pair[0], pair[1], **options)


def measure(folder, pairs):
    pictures = [np.asarray(Image.open(path)) / 255.0 for path in sorted(Path(folder).glob("*.png"))]
    every = list(itertools.combinations(range(len(pictures)), 2))
    some = random.Random(0).sample(every, min(2 * pairs, len(every)))
    work = [(pictures[a], pictures[b]) for a, b in some]
    with multiprocessing.Pool(2) as pool:
        pool.map(similarity, work[:4], chunksize=1)
        begun = time.perf_counter()
        found = pool.map(similarity, work, chunksize=max(1, len(work) // 16))
        seconds = time.perf_counter() - begun
    print(seconds * len(every) / len(work), sum(found) / len(found))


if sys.argv[1] == "make":
    make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
else:
    measure(sys.argv[2], int(sys.argv[3]))
