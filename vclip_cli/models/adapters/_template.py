"""`new-method`: frozen CLIP with a learned weight for each frame.

A starting point: change it step by step. The file's name is the method's name, and
`vclip methods` lists it. Shapes: B batch, T frames, C H W, K classes, E embedding width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from vclip_cli.common.errors import SpecError
from vclip_cli.models.adapters.clip import ClipAdapter
from vclip_cli.models.backbone import Backbone
from vclip_cli.models.contract import AdapterConfig, Trainable


@dataclass(frozen=True)
class NewMethodConfig(AdapterConfig):
    """The options of the method, each with a default. A checkpoint stores them.

    frames: T, the number of weights.
    """

    frames: int = 8

    def __post_init__(self) -> None:
        """Refuse impossible values here, with a SpecError that says what is allowed."""
        if self.frames < 1:
            raise SpecError("the option 'frames' is at least 1")


class NewMethod(ClipAdapter):
    """`ClipAdapter` encodes frames and prompts; this class changes how frames are averaged.

    Derive from `vclip_cli.models.contract.Adapter` instead to write `encode_text`, `encode_video`
    and `score` from scratch.
    """

    name = "new-method"
    summary = "Frozen CLIP, frames averaged with learned weights"  # one line for `vclip methods`
    paper = ""  # such as "Radford et al., ICML 2021, arXiv 2103.00020"
    Config = NewMethodConfig
    config: NewMethodConfig

    # The prompts, where neither the user nor the protocol names any.
    default_templates = ("a photo of a {class}.",)

    # What may be stored and reused while the weights stay the same: "frame" for `encode_frames`
    # (B,T,E), "video" for `encode_video`, "none" for nothing. "none" is always right.
    cacheable = "frame"

    def __init__(self, backbone: Backbone, config: NewMethodConfig | None = None) -> None:
        super().__init__(backbone, config)
        self.weights = nn.Parameter(torch.zeros(self.config.frames))

    @property
    def tied_frames(self) -> int | None:
        """The only T that the weights fit. Leave it out where T may be any number."""
        return self.config.frames

    def trainable(self) -> dict[str, Trainable]:
        """The tensors that train, by their names in `named_parameters`; all others are frozen."""
        return {"weights": Trainable(self.weights, decay=False)}

    def pool_frames(self, embeddings: Tensor) -> Tensor:
        """Frame embeddings (B,T,E) to L2-normalised video embeddings (B,E)."""
        shares = self.weights.softmax(dim=0)[:, None]
        return normalize((embeddings.float() * shares).sum(dim=1), dim=-1)

    # More that an adapter may define; see `Adapter` in vclip_cli/models/contract.py:
    #
    # text_trains: whether training changes `encode_text` (property).
    # penalty(frames, video): a regulariser that is added to the loss of each video.
    # tied_classes: class names that the weights are tied to (property).
