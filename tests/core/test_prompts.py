"""Prompt templates: what they make of captions, the named sets, and what is refused."""

from __future__ import annotations

import pytest
import torch

from xpet.core.errors import ConfigError
from xpet.core.prompts import SETS, TEMPLATES, ensemble, ensemble_features, fill, parse
from xpet.core.scripts import expected_scripts, letters

XTD_AND_CZECH = {"en", "de", "fr", "es", "it", "ja", "ko", "pl", "ru", "tr", "zh", "cs"}


def test_every_language_has_several_templates_with_one_place_in_its_own_script():
    assert set(TEMPLATES) == XTD_AND_CZECH
    for language, templates in TEMPLATES.items():
        assert len(templates) == len(set(templates)) >= 3
        for template in templates:
            assert template.count("{}") == 1
            assert set(letters(template)) <= set(expected_scripts(language))
            assert letters(template)


def test_a_template_of_ones_own_is_for_all_languages():
    prompt = parse("a photo of {}!")
    assert prompt.name == "a photo of {}!"
    assert prompt.apply(["a dog", "two {} cats"], "xx") == (("a photo of a dog!", "a photo of two {} cats!"),)
    assert fill("{}", "{}{}") == "{}{}"


def test_the_named_sets():
    assert list(SETS) == [
        "none", "english", "native", "native-spaced", "english-ensemble", "native-ensemble", "native-spaced-ensemble",
    ]  # fmt: skip
    assert parse("none").apply(["ein Hund"], "de") == (("ein Hund",),)
    assert parse("english").apply(["ein Hund"], "de") == (("a photo of ein Hund",),)
    assert parse("native").apply(["ein Hund"], "de") == (("Foto: ein Hund",),)
    assert parse("english-ensemble").templates("ja") == TEMPLATES["en"]
    assert [row[0] for row in parse("native-ensemble").apply(["x"], "cs")] == [fill(t, "x") for t in TEMPLATES["cs"]]


def test_spaced_templates_differ_where_the_language_is_written_without_spaces():
    assert parse("native").apply(["犬"], "ja") == (("写真：犬",),)
    assert parse("native-spaced").apply(["犬"], "ja") == (("写真： 犬",),)
    differing = {lang for lang in TEMPLATES if SETS["native"].templates(lang) != SETS["native-spaced"].templates(lang)}
    assert differing == {"ja", "zh"}
    assert all(
        template.endswith(" {}") for row in SETS["native-spaced-ensemble"].by_language.values() for template in row
    )


def test_a_language_without_template():
    native = parse("native")
    assert (native.covers("de"), native.covers("eu"), parse("english").covers("eu")) == (True, False, True)
    with pytest.raises(ConfigError) as caught:
        native.apply(["x"], "eu")
    assert str(caught.value) == (
        "prompt set 'native' has no template in 'eu': expected one of en, de, fr, es, it, ja, ko, pl, ru, tr, zh, cs; "
        "give a template such as --prompt 'photo: {}'"
    )


@pytest.mark.parametrize(("spec", "message"), [
    ("{} and {}", "--prompt: expected a template with exactly one {}, found 2 in '{} and {}'"),
    ("a photo of", "--prompt: expected a template with exactly one {}, found 0 in 'a photo of'"),
    ("", "--prompt: expected a template with exactly one {}, found 0 in ''"),
    ("{0}", "--prompt: expected a template with exactly one {}, found 0 in '{0}'"),
    ("nativ", "unknown prompt set 'nativ': expected one of none, english, native, native-spaced, english-ensemble, "
     "native-ensemble, native-spaced-ensemble; "
     "did you mean 'native'?; a template of your own needs one {}"),
])  # fmt: skip
def test_what_is_refused(spec, message):
    with pytest.raises(ConfigError) as caught:
        parse(spec)
    assert str(caught.value) == message


def test_an_ensemble_has_the_templates_of_all() -> None:
    both = ensemble([parse("a {}"), parse("b {}")])
    assert (both.name, both.templates("xx")) == ("a {} + b {}", ("a {}", "b {}"))
    mixed = ensemble([parse("native"), parse("b {}")])
    assert mixed.templates("de") == (TEMPLATES["de"][0], "b {}")
    assert not mixed.covers("xx")


def test_features_of_an_ensemble_are_the_mean_of_unit_features() -> None:
    one, other = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.0, 9.0], [5.0, 0.0]])
    assert ensemble_features([one]) is one
    expected = torch.tensor([[0.3, 0.9], [0.5, 0.5]])
    torch.testing.assert_close(ensemble_features([one, other]), expected)
