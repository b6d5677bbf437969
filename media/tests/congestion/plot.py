#!/usr/bin/env python3
"""Draws the CSV files the congestion tests write into PNGs: rates, queue, layers over time.

Usage: SKEIN_CONGESTION_CSV=DIR cargo nextest run --test congestion; plot.py DIR
Needs matplotlib.
"""
import csv
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402


def draw(path):
    with path.open() as file:
        rows = list(csv.DictReader(file))
    time = [float(row["second"]) for row in rows]
    column = lambda name, scale=1: [float(row[name]) / scale for row in rows]  # noqa: E731
    figure, axes = plt.subplots(3, 1, sharex=True, figsize=(12, 9), height_ratios=[3, 2, 2])
    link = column("link", 1e6)
    axes[0].plot(time, link, "k--", lw=1, label="link")
    axes[0].plot(time, column("estimate", 1e6), "b", lw=1.2, label="estimate")
    axes[0].plot(time, column("sent", 1e6), "g", lw=0.8, label="sent")
    axes[0].set_ylim(0, min(max(link) * 1.5, max(column("estimate", 1e6) + column("sent", 1e6)) * 1.1))
    axes[0].set_ylabel("Mbit/s")
    axes[0].legend(loc="upper right")
    axes[1].plot(time, column("queue_ms"), "r", lw=0.8)
    axes[1].axhline(60, color="gray", ls=":")
    axes[1].set_ylabel("queue, ms (max of 0.1 s)")
    loss = axes[1].twinx()
    loss.fill_between(time, column("lost"), color="orange", alpha=0.3)
    loss.set_ylim(0, 1)
    for stream in range(len(rows[0]["layers"])):
        layers = [row["layers"][stream] for row in rows]
        axes[2].step(time, [-1 if l == "-" else int(l) + stream * 0.08 for l in layers], lw=1)
    axes[2].set_yticks([-1, 0, 1, 2], ["frozen", "q", "h", "f"])
    axes[2].set_xlabel("seconds")
    figure.suptitle(path.stem)
    figure.tight_layout()
    figure.savefig(path.with_suffix(".png"), dpi=70)
    plt.close(figure)


for name in sorted(pathlib.Path(sys.argv[1]).glob("*.csv")):
    draw(name)
