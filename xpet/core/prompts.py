"""Hard prompts: templates with one `{}` for the caption, in English and in each language, as named sets.

A caption comes in as it stands, so a template must be grammatical around any noun phrase or sentence. Where a natural
"a photo of" would govern a case (German "ein Foto von" the dative, Polish and Russian the genitive), elide or contract
("une photo d'un", "del"), need a personal "a" (Spanish) or turn a sentence into an attribute (Japanese "の写真"), the
templates set the caption off with a colon instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xpet.core.captions import PIVOT
from xpet.core.errors import ConfigError, unknown

if TYPE_CHECKING:
    from torch import Tensor

PLACEHOLDER = "{}"
"""Where the caption goes in a template."""
TEMPLATES: dict[str, tuple[str, ...]] = {
    "en": ("a photo of {}", "a picture of {}", "an image of {}", "a photo showing {}"),
    "de": ("Foto: {}", "ein Bild: {}", "auf dem Foto: {}", "auf dem Bild ist zu sehen: {}"),
    "fr": ("une photo montrant {}", "photo : {}", "sur la photo : {}", "une image montrant {}"),
    "es": ("foto: {}", "una imagen: {}", "en la foto: {}", "en la imagen: {}"),
    "it": ("una foto che mostra {}", "foto: {}", "nella foto: {}", "un'immagine che mostra {}"),
    "ja": ("写真：{}", "画像：{}", "写真の内容：{}", "この写真の説明：{}"),
    "ko": ("사진: {}", "이미지: {}", "사진 설명: {}", "이 사진의 내용: {}"),
    "pl": ("zdjęcie: {}", "obraz: {}", "na zdjęciu: {}", "na obrazku: {}"),
    "ru": ("фото: {}", "изображение: {}", "на фото: {}", "на фотографии: {}"),
    "tr": ("fotoğraf: {}", "resim: {}", "fotoğrafta görülen: {}", "resimde görülen: {}"),
    "zh": ("照片：{}", "图片：{}", "照片内容：{}", "图中：{}"),
    "cs": ("fotografie: {}", "obrázek: {}", "na fotografii: {}", "na obrázku: {}"),
}
"""Templates per language; the first stands for its language where one is wanted, all of them are the ensemble."""
SPACED = {
    language: tuple(
        f"{text.rstrip()} {PLACEHOLDER}" for text in (template.removesuffix(PLACEHOLDER) for template in templates)
    )
    for language, templates in TEMPLATES.items()
}
"""The same with a space before the caption, so that it begins a token of its own in every language."""


@dataclass(frozen=True)
class Prompt:
    """Templates by language, or `shared` by all; several are averaged as an ensemble; `name` is from `--prompt`."""

    name: str
    shared: tuple[str, ...] = ()
    by_language: Mapping[str, tuple[str, ...]] | None = None

    def templates(self, language: str) -> tuple[str, ...]:
        """The templates for texts of a language; raises ConfigError where the set has none."""
        if self.by_language is None:
            return self.shared
        if language not in self.by_language:
            raise ConfigError(
                f"prompt set '{self.name}' has no template in '{language}': expected one of "
                f"{', '.join(self.by_language)}; give a template such as --prompt 'photo: {PLACEHOLDER}'"
            )
        return self.by_language[language]

    def covers(self, language: str) -> bool:
        """Whether there is a template for texts of the language."""
        return self.by_language is None or language in self.by_language

    def apply(self, texts: Sequence[str], language: str) -> tuple[tuple[str, ...], ...]:
        """The texts in each template: [templates][texts]; raises ConfigError as `templates` does."""
        return tuple(tuple(fill(template, text) for text in texts) for template in self.templates(language))


SETS = {
    prompt.name: prompt
    for prompt in (
        Prompt("none", shared=(PLACEHOLDER,)),
        Prompt("english", shared=TEMPLATES[PIVOT][:1]),
        Prompt("native", by_language={language: rows[:1] for language, rows in TEMPLATES.items()}),
        Prompt("native-spaced", by_language={language: rows[:1] for language, rows in SPACED.items()}),
        Prompt("english-ensemble", shared=TEMPLATES[PIVOT]),
        Prompt("native-ensemble", by_language=TEMPLATES),
        Prompt("native-spaced-ensemble", by_language=SPACED),
    )
}
"""What `--prompt` offers by name: the English templates around captions of any language, or each language's own.

`native` joins text and caption as the language is written. The paper's published code inserts the tokens of the text
alone before those of the caption, which amounts to a template `TEXT {}` with a space: `native-spaced`. The two differ
in Japanese and Chinese, which are written without spaces.
"""


def ensemble(prompts: Sequence[Prompt]) -> Prompt:
    """One prompt with the templates of all, for the languages that every one of them has templates for."""
    name = " + ".join(prompt.name for prompt in prompts)
    named = [prompt.by_language for prompt in prompts if prompt.by_language is not None]
    if not named:
        return Prompt(name, shared=tuple(template for prompt in prompts for template in prompt.shared))
    common = [language for language in named[0] if all(language in templates for templates in named)]
    return Prompt(
        name, by_language={lang: tuple(t for prompt in prompts for t in prompt.templates(lang)) for lang in common}
    )


def ensemble_features(versions: Sequence[Tensor]) -> Tensor:
    """The mean of unit features over templates, [texts, d], from the features [texts, d] in each template.

    CLIP's prompt ensemble (Radford et al. 2021, section 3.1.4). Features of a single template stay as they are.
    """
    import torch
    from torch.nn.functional import normalize

    if len(versions) == 1:
        return versions[0]
    return torch.stack([normalize(features, dim=-1) for features in versions]).mean(dim=0)


def fill(template: str, text: str) -> str:
    """The text in the template; braces inside the text stay as they are."""
    return template.replace(PLACEHOLDER, text)


def parse(spec: str) -> Prompt:
    """The prompt of `--prompt`: the name of a set, or a template of one's own with exactly one `{}`.

    Raises ConfigError for an unknown name and for a template with none or several.
    """
    count = spec.count(PLACEHOLDER)
    if count == 1:
        return Prompt(spec, shared=(spec,))
    if spec in SETS:
        return SETS[spec]
    if count or not spec.replace("-", "_").isidentifier():
        raise ConfigError(f"--prompt: expected a template with exactly one {PLACEHOLDER}, found {count} in '{spec}'")
    raise ConfigError(unknown("prompt set", spec, list(SETS)) + f"; a template of your own needs one {PLACEHOLDER}")
