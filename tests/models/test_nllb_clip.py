"""NLLB-CLIP: the tag of a text's language, as NLLB's own tokenizer puts it; and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.published import ODD, SAMPLES
from tests.tiny import write_json
from xpet.core.captions import in_language
from xpet.core.errors import ModelError
from xpet.models.checkpoint import load_text_tower, open_text_tower
from xpet.models.encode import encode_texts
from xpet.models.families import family_of
from xpet.models.families.nllb_languages import TAGS, tag_of
from xpet.models.image_tower import load_image_tower


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nllb") / "published"
    SAMPLES["NLLB-CLIP"].make(folder)
    return folder


def changed(published: Path, to: Path, settings: dict[str, Any], **text: object) -> Path:
    """A copy of the sample, with entries of its model_cfg and text_cfg changed."""
    folder = Path(shutil.copytree(published, to))
    path = folder / "open_clip_config.json"
    document = json.loads(path.read_text())
    document["model_cfg"] |= settings
    document["model_cfg"]["text_cfg"] |= text
    write_json(path, document)
    return folder


def test_tags_are_those_of_the_published_vocabulary() -> None:
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    assert list(TAGS) == list(FAIRSEQ_LANGUAGE_CODES)
    assert all(tag_of(tag) == tag == tag_of(tag.lower().replace("_", "-")) for tag in TAGS)


@pytest.mark.parametrize(
    ("language", "tag"),
    {
        "de": "deu_Latn", "en": "eng_Latn", "jp": "jpn_Jpan", "ja": "jpn_Jpan", "ko": "kor_Hang", "tr": "tur_Latn",
        "zh": "zho_Hans", "zh-Hant": "zho_Hant", "zh-TW": "zho_Hant", "zh_CN": "zho_Hans", "pt-BR": "por_Latn",
        "ar": "arb_Arab", "fa": "pes_Arab", "prs": "prs_Arab", "no": "nob_Latn", "nn": "nno_Latn",
        "sr-Latn": "srp_Cyrl", "yue": "yue_Hant", "ger": "deu_Latn",
        "he": "heb_Hebr", "iw": "heb_Hebr", "fil": "tgl_Latn", "sw": "swh_Latn", "ms": "zsm_Latn", "uz": "uzn_Latn",
        "lv": "lvs_Latn", "qu": "quy_Latn", "kas_Deva": "kas_Deva", "ks": "kas_Arab",
        "toki": None, "": None, "xx": None,
    }.items(),
)  # fmt: skip
def test_codes_of_languages_are_given_their_tag(language: str, tag: str | None) -> None:
    assert tag_of(language) == tag


@pytest.mark.parametrize(("language", "tag"), [("de", "deu_Latn"), ("ja", "jpn_Jpan"), ("eng_Latn", "eng_Latn")])
def test_texts_are_tokenised_as_by_nllbs_own_class(language: str, tag: str, published: Path) -> None:
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(published, src_lang=tag)
    rows = open_text_tower(published).tokenizer.encode(in_language(ODD, language))
    assert rows == own([" ".join(text.split()) for text in ODD], truncation=True, max_length=40)["input_ids"]
    assert {row[0] for row in rows} == {own.convert_tokens_to_ids(tag)}
    assert max(map(len, rows)) == 40


def test_languages_are_mixed_in_one_call_and_matter(published: Path) -> None:
    loaded = load_text_tower(published)
    mixed = (*in_language(["a dog"], "de"), *in_language(["a dog"], "tr"), *in_language(["a dog"], "de"))
    features = encode_texts(loaded.tower, loaded.tokenizer, mixed)
    assert torch.equal(features[0], features[2])
    assert (features[0] - features[1]).abs().max() > 0.1
    other = SAMPLES["NLLB-CLIP"].features
    torch.testing.assert_close(features[1:2], other(published, ["a dog"], torch.float32, "tur_Latn"))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (None, "expected the language, found none; give it, as in "),
        ("toki", "has none for 'toki': expected a code of ISO"),
    ],
)
def test_a_language_that_is_not_given_or_not_known_is_named(
    language: str | None, expected: str, published: Path
) -> None:
    tokenizer = open_text_tower(published).tokenizer
    with pytest.raises(ModelError) as error:
        tokenizer.encode(in_language(["a dog"], language))
    assert expected in str(error.value)
    with pytest.raises(ModelError, match="found none"):
        tokenizer.encode(["a dog"])


def test_settings_of_newer_files_and_buffers_of_older_ones_change_nothing(published: Path, tmp_path: Path) -> None:
    folder = changed(published, tmp_path / "new", {}, hf_proj_type="linear", hf_pooler_type="cls_pooler")
    state = load_file(folder / "open_clip_model.safetensors")
    state["text.transformer.embed_positions.weights"] = torch.zeros(3, 64)
    save_file(state, folder / "open_clip_model.safetensors", {"format": "pt"})
    towers = [load_text_tower(path) for path in (published, folder)]
    features = [encode_texts(t.tower, t.tokenizer, in_language(["two dogs"], "de")) for t in towers]
    assert torch.equal(*features)


def test_a_siglip_variant_reads_its_text_tower_and_refuses_its_image_tower(published: Path, tmp_path: Path) -> None:
    vision = {"vision_cfg": {"image_size": 384, "timm_model_name": "vit_base_patch16_siglip_384", "timm_pool": "map"}}
    folder = changed(published, tmp_path / "siglip", vision)
    assert family_of(folder).name == "NLLB-CLIP"
    assert load_text_tower(folder).has_image
    with pytest.raises(ModelError, match="found timm's vit_base_patch16_siglip_384; give another image tower"):
        load_image_tower(folder)


def test_what_is_missing_is_named(published: Path, tmp_path: Path) -> None:
    folder = changed(published, tmp_path / "none", {}, hf_pooler_type="max_pooler")
    with pytest.raises(ModelError, match="expected hf_pooler_type cls_pooler .* found max_pooler"):
        open_text_tower(folder)
    folder = changed(published, tmp_path / "bare", {})
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="hf download facebook/nllb-200-distilled-600M tokenizer.json --local-dir"):
        open_text_tower(folder)
    (folder / "tokenizer.json").write_bytes((published / "tokenizer.json").read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"tokenizer.json: damaged or truncated"):
        open_text_tower(folder)
    SAMPLES["CLIP"].make(tmp_path / "clip")
    shutil.copyfile(tmp_path / "clip" / "tokenizer.json", folder / "tokenizer.json")
    with pytest.raises(ModelError, match="expected NLLB's tokenizer, found one without </s>"):
        open_text_tower(folder)
