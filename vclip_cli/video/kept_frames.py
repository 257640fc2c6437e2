"""Which frames of a video a frame store keeps, and what can be sampled from them.

Shapes: n frames of the video, T frames a view, V views.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from vclip_cli.video.sampling import Indices, Sampling, segment_candidates, view_indices

Positive = Annotated[int, Field(ge=1)]


class KeptFrames(BaseModel):
    """The rules that choose the frames of every video.

    frames: every T whose segment midpoints are kept; clips: V, the number of views of each T that
    are kept as well; jitter: candidates per segment for random draws in training, None for none;
    every: keep all frames, whatever the other rules say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    frames: tuple[Positive, ...] = ()
    clips: Positive = 1
    jitter: Positive | None = None
    every: bool = False

    def indices(self, n: int) -> Indices:
        """The frames to keep of a video of n frames, each once.

        The frames of one rule lie side by side, so that they are read as one stretch of bytes.
        """
        if self.every:
            return np.arange(n, dtype=np.int64)
        parts = [
            view_indices(n, frames, clips).ravel()
            for frames in self.frames
            for clips in sorted({1, self.clips})
        ]
        if self.jitter is not None:
            parts += [segment_candidates(n, frames, self.jitter) for frames in self.frames]
        return np.array(list(dict.fromkeys(np.concatenate(parts).tolist())), dtype=np.int64)

    def covers(self, sampling: Sampling) -> bool:
        """Whether all frames of a test sampling are kept, of every video.

        V views of T frames use the frames of one view of V·T.
        """
        if self.every or sampling.rule != "uniform":
            return self.every
        in_one_view = sampling.frames * sampling.clips in self.frames
        return in_one_view or (sampling.clips == self.clips and sampling.frames in self.frames)

    @property
    def draws(self) -> int | None:
        """K: the candidates per segment for random draws, None for all frames."""
        return None if self.every else self.jitter

    def covers_draws(self, frames: int) -> bool:
        """Whether one random frame per segment can be drawn, for training with T frames."""
        return self.every or (self.jitter is not None and frames in self.frames)

    def options(self) -> str:
        """The options of `vclip extract` that keep these frames."""
        if self.every:
            return "--frames all"
        parts = [f"--frames {','.join(map(str, self.frames))}"]
        parts += [f"--clips {self.clips}"] if self.clips > 1 else []
        parts += [f"--segments-jitter {self.jitter}"] if self.jitter is not None else []
        return " ".join(parts)

    def with_frames(self, frames: int, clips: int = 1, jitter: int | None = None) -> KeptFrames:
        """These rules and one more."""
        return KeptFrames(
            frames=tuple(sorted({*self.frames, frames})),
            clips=clips if clips > 1 else self.clips,
            jitter=self.jitter if jitter is None else jitter,
        )

    def that_would_keep(self, wanted: Indices, n: int) -> KeptFrames:
        """Rules that keep the wanted frames of a video of n frames as well.

        They add the midpoints of some T or the views of some T, else all frames.
        """
        count = len(wanted)
        for clips in range(1, count + 1):
            whole, rest = divmod(count, clips)
            if not rest and np.array_equal(view_indices(n, whole, clips).ravel(), wanted):
                return self.with_frames(whole, clips)
        return KeptFrames(every=True)
