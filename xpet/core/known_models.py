"""The model families that are read, as their users are told of them; `xpet.models.families` reads them.

They stand here so that they are listed without loading torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Facts:
    """What is said about a family to its users."""

    name: str
    checkpoints: tuple[str, ...] = ()
    """Published ones, on the hub."""
    partners: Mapping[str, str] = field(default_factory=dict)
    """Text tower on the hub -> image tower on the hub; empty where both are in one checkpoint."""
    parameters: str = ""
    dimensions: str = ""
    languages: str = ""
    licence: str = ""
    verified: str = ""
    """What was verified, and how."""
    notes: str = ""
    """Readings of its layout that were never seen on a published file, and where the other reading would be made."""


def _named(start: str, *endings: str) -> tuple[str, ...]:
    """Names on the hub that begin alike."""
    return tuple(start + ending for ending in endings)


_FACTS = (
    Facts(
        "sentence-transformers",
        checkpoints=("sentence-transformers/clip-ViT-B-32-multilingual-v1",), parameters="135 M", dimensions="512",
        languages="50+", licence="Apache-2.0",
        verified="features equal sentence-transformers' own, which loads what merge writes; tiny random checkpoints",
        notes="DistilBERT's tensors may begin with `distilbert.` or not (_WHOLE); its files may lie in 0_Transformer",
        partners={"sentence-transformers/clip-ViT-B-32-multilingual-v1": "openai/clip-vit-base-patch32"},
    ),
    Facts(
        "NLLB-CLIP",
        checkpoints=_named(
            "visheratin/nllb-", "clip-base-oc", "clip-large-oc", "clip-base-siglip", "clip-large-siglip",
            "siglip-mrl-base", "siglip-mrl-large",
        ),
        parameters="text 414 M; large 767 M", dimensions="512, 1024; siglip 768, 1152", languages="200",
        licence="CC BY-NC 4.0",
        verified="text features equal the formula on transformers' M2M100Encoder; tiny random checkpoints",
        notes=(
            "texts say their language and are cut to 77 tokens as open_clip does (_CONTEXT), its authors' tests pad to "
            "100; siglip variants need another image tower, timm's is not read; dropout acts on attention alone"
        ),
    ),
    Facts(
        "OpenCLIP",
        checkpoints=(
            "laion/CLIP-ViT-B-32-xlm-roberta-base-laion5B-s13B-b90k",
            "laion/CLIP-ViT-H-14-frozen-xlm-roberta-large-laion5B-s13B-b90k",
        ),
        parameters="text 278 M; H/14 562 M", dimensions="512, 1024", languages="100", licence="MIT",
        verified="features of both halves equal open_clip's, which loads what merge writes; tiny random checkpoints",
        notes=(
            "without open_clip_config.json, settings are those that open_clip has for tensors of these shapes "
            "(MODELS), and pictures are prepared by open_clip's defaults, whatever preprocessor_config.json says"
        ),
    ),
    Facts(
        "AltCLIP",
        checkpoints=("BAAI/AltCLIP", "BAAI/AltCLIP-m9", "BAAI/AltCLIP-m18"), parameters="text 560 M",
        dimensions="768; m18 1024", languages="2, 9, 18", licence="CreativeML Open RAIL-M",
        verified="features of both halves equal AltCLIPModel's, which loads what merge writes; tiny random checkpoints",
        notes=(
            "layers are spelt `encoder.layer` in the text half, `encoder.layers` in the vision half, of which "
            "clip_vision.py reads both; m18's vision tower is taken to be as config.json describes it"
        ),
    ),
    Facts(
        "Chinese-CLIP",
        checkpoints=_named("OFA-Sys/chinese-clip-vit-", "base-patch16", "large-patch14", "large-patch14-336px",
                           "huge-patch14"),
        parameters="text 102 M; huge 325 M", dimensions="512; large 768, huge 1024", languages="Chinese",
        licence="MIT",
        verified="features of both halves equal ChineseCLIPModel's, which loads what merge writes; random checkpoints",
        notes=(
            "texts are cut to 52 tokens as its own code does (CONTEXT); transformers' tokenizer of the same folder "
            "cuts where it is told to, at most at 512"
        ),
    ),
    Facts(
        "SigLIP",
        checkpoints=(
            *_named("google/siglip2-base-patch", "16-224", "16-256", "16-384", "16-512", "32-256"),
            *_named("google/siglip2-large-patch16-", "256", "384", "512"),
            *_named("google/siglip2-so400m-patch", "14-224", "14-384", "16-256", "16-384", "16-512"),
            *_named("google/siglip2-giant-opt-patch16-", "256", "384"),
            "google/siglip-base-patch16-256-multilingual", "google/siglip-so400m-patch16-256-i18n",
        ),
        parameters="0.4 to 1.1 B, both halves", dimensions="768; large 1024, so400m 1152, giant 1536",
        languages="100+", licence="Apache-2.0",
        verified="features of both halves equal SiglipModel's, which loads what merge writes; tiny random checkpoints",
        notes=(
            "a text ends with one end token and begins with none, whatever tokenizer.json says (_fixed); SigLIP 2's "
            "are in lower case, though its files name a tokenizer that keeps it (_from_json); SigLIP's pad with the "
            "end token (_from_pieces); no head where the file has none, as in so400m i18n (_build)"
        ),
    ),
    Facts(
        "MetaCLIP 2",
        checkpoints=_named("facebook/metaclip-2-worldwide-", "s16", "m16", "b32", "b16", "l14", "huge-quickgelu",
                           "huge-378", "giant", "giant-378"),
        parameters="0.4 to 1.9 B, both halves", dimensions="up to 1280", languages="300+", licence="CC BY-NC 4.0",
        verified="features of both halves equal MetaClip2Model's, which loads what merge writes; tiny random ones",
        notes=(
            "names after l14 are as far as they are known; those with mT5 as text tower (metaclip-2-mt5-*) are another "
            "layout and are not read"
        ),
    ),
    Facts(
        "CLIP",
        checkpoints=_named("openai/clip-vit-", "base-patch32", "base-patch16", "large-patch14", "large-patch14-336"),
        parameters="text 63 M; large 123 M", dimensions="512; large 768", languages="English", licence="MIT",
        verified="features of both halves equal CLIPModel's, which loads what merge writes; tiny random checkpoints",
    ),
    Facts(
        "M-CLIP",
        checkpoints=(
            "M-CLIP/XLM-Roberta-Large-Vit-B-32", "M-CLIP/XLM-Roberta-Large-Vit-L-14",
            "M-CLIP/XLM-Roberta-Large-Vit-B-16Plus", "M-CLIP/LABSE-Vit-L-14",
        ),
        parameters="560 M; LaBSE 471 M", dimensions="512 to 768", languages="48; LaBSE 109", licence="MIT",
        verified="features equal the published class's, computed from its formula; tiny random checkpoints",
        partners={
            "M-CLIP/XLM-Roberta-Large-Vit-L-14": "openai/clip-vit-large-patch14",
            "M-CLIP/XLM-Roberta-Large-Vit-B-32": "openai/clip-vit-base-patch32",
            "M-CLIP/LABSE-Vit-L-14": "openai/clip-vit-large-patch14",
            "M-CLIP/XLM-Roberta-Large-Vit-B-16Plus": "timm/vit_base_patch16_plus_clip_240.laion400m_e32",
        },
    ),
)  # fmt: skip
"""In the order in which folders are tried."""
KNOWN: Mapping[str, Facts] = {facts.name: facts for facts in _FACTS}
"""Name of a family -> what is said about it."""
