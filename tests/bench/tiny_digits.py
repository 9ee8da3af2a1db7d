"""The digits with a model of two thousand parameters: for drills in which a training is started many times."""

import dataclasses

from torch import nn

from tasks.workloads.examples import digits


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(8 * 4 * 4, 10))

    def forward(self, image):  # type: ignore[no-untyped-def]
        return self.head(self.features(image / 16.0))


workload = dataclasses.replace(digits.workload, name="tiny-digits", model=Tiny)
