"""`translate --reference` and `--noise`: scores against oracles, noise after a clean cache, one-line errors."""

from __future__ import annotations

import io
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.translation.conftest import Command
from xpet.core.config import TranslateConfig
from xpet.core.errors import ConfigError, DataError, XpetError
from xpet.core.events import Event, Notice
from xpet.jobs.translate.run import run
from xpet.translation.degrade import degrade
from xpet.translation.scores import score

pytestmark = pytest.mark.usefixtures("packages")


def chrf(hypothesis: str, reference: str) -> float:
    """chrF2 of one line by its definition (Popovic 2015): n-grams of 1 to 6 characters without spaces."""
    sides = [text.replace(" ", "") for text in (hypothesis, reference)]
    precisions, recalls = [], []
    for size in range(1, 7):
        mine, theirs = (Counter(text[p : p + size] for p in range(len(text) - size + 1)) for text in sides)
        if mine and theirs:
            precisions.append((mine & theirs).total() / mine.total())
            recalls.append((mine & theirs).total() / theirs.total())
    precision, recall = (sum(found) / len(found) for found in (precisions, recalls))
    return 100 * 5 * precision * recall / (4 * precision + recall)


@pytest.fixture
def config(tmp_path: Path) -> TranslateConfig:
    (tmp_path / "in.txt").write_text("ein Hund sieht die Katze\n\nder Mann sieht die Katze\n")
    return TranslateConfig("de", "en", file=str(tmp_path / "in.txt"), out=str(tmp_path / "out.txt"))


def refused(config: TranslateConfig, words: str, kind: type[XpetError]) -> None:
    with pytest.raises(kind) as caught:
        run(config)
    assert str(caught.value) == words
    assert not Path(str(config.out)).exists()


def test_scores_of_a_text_file(config: TranslateConfig, tmp_path: Path, xpet: Command) -> None:
    (tmp_path / "ref.txt").write_text("a dog sees the man\r\n\r\nthe man sees the cat")
    config = replace(config, reference=str(tmp_path / "ref.txt"))
    scores = run(config).scores
    assert scores is not None
    matches = (9 / 10) * (7 / 8) * (5 / 6) * (3 / 4)  # n-grams of 1 to 4 words
    assert scores["bleu"] == pytest.approx(100 * matches**0.25, abs=1e-9)
    assert (scores["reference"], scores["lines"]) == (config.reference, 3)
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:2.")
    assert scores["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:2.")
    pair = ["translate", str(config.file), "--from", "de", "--to", "en", "--reference", str(config.reference)]
    shown = xpet(*pair, "-o", str(config.out)).stdout.decode()
    expected = (
        f"Against {config.reference}: BLEU {scores['bleu']:.1f} ({scores['bleu_signature']}), "
        f"chrF {scores['chrf']:.1f} ({scores['chrf_signature']})"
    )
    assert expected + ".\n" in shown
    assert json.loads(xpet(*pair, "-o", str(config.out), "--json").stdout)["scores"] == scores
    piped = xpet(*pair)
    assert piped.stdout == b"a dog sees the cat\n\nthe man sees the cat\n"
    assert piped.stderr.decode() == f"xpet: {expected}\n"


def test_chrf_by_its_definition() -> None:
    for mine, theirs in (
        ("a dog sees the cat", "a dog sees the man"),
        ("the cats", "a cat"),
        ("\u3044\u306c", "\u3044\u306c"),
    ):
        found = score([mine], [theirs], "en")
        assert found["chrf"] == pytest.approx(chrf(mine, theirs), abs=1e-9)
    assert score(["x y z w"], ["x y z w"], "en")["bleu"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("target", "tokenizer"),
    [("en", "13a"), ("zh", "zh"), ("zt", "zh"), ("ja", "char"), ("ko", "char"), ("th", "char"), ("pb", "13a")],
)
def test_the_tokenizer_follows_the_language(target: str, tokenizer: str) -> None:
    """Five characters without a space are one word to 13a: only a split into characters can find them alike."""
    found = score(["\u4e00\u4e8c\u4e09\u56db\u4e94"], ["\u4e00\u4e8c\u4e09\u56db\u516d"], target)
    assert f"|tok:{tokenizer}|" in found["bleu_signature"]
    assert found["bleu"] == pytest.approx(0 if tokenizer == "13a" else 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)


def test_scores_of_columns(config: TranslateConfig, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id,de\n1,ein Hund sieht die Katze\n\n2,der Mann\n")
    (tmp_path / "ref.jsonl").write_text('{"en": "a dog sees the cat"}\n\n{"en": "the man"}\n')
    config = replace(config, file=str(tmp_path / "in.csv"), column="de", reference=str(tmp_path / "ref.jsonl"))
    scores = run(replace(config, reference_column="en")).scores
    assert scores is not None
    assert (scores["lines"], scores["bleu"], scores["chrf"]) == (2, pytest.approx(100), pytest.approx(100))
    itself = run(replace(config, reference=config.file, reference_column="de")).scores
    assert itself is not None
    assert itself["bleu"] < 1


def test_references_of_another_length(config: TranslateConfig, tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("one\ntwo\n")
    config = replace(config, reference=str(tmp_path / "ref.txt"))
    words = f"expected a reference for each line, found 2 in {config.reference} and 3 in "
    refused(config, words + str(config.file), DataError)
    with pytest.raises(DataError) as caught:
        run(replace(config, file=None), stdin=io.BytesIO(b"ein Hund\nein Hund\nein Hund\n"))
    assert str(caught.value) == words + "standard input"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cache", "in.txt", "ref.txt"]


def test_nothing_to_score(config: TranslateConfig, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    assert run(replace(config, file=str(tmp_path / "empty.txt"), reference=str(tmp_path / "empty.txt"))).scores is None


def test_bad_options(config: TranslateConfig, tmp_path: Path) -> None:
    for rate in (-0.1, 1.01, float("nan")):
        words = f"--noise: expected a rate from 0 to 1, found {rate:g}"
        refused(replace(config, noise=rate), words, ConfigError)
    refused(replace(config, noise_seed=2), "--noise-seed needs --noise", ConfigError)
    words = "no.txt: expected a file of references, found none to read (No such file or directory)"
    refused(replace(config, reference="no.txt"), words, DataError)
    words = "r.csv has columns: expected that of the references in --reference-column"
    refused(replace(config, reference="r.csv"), words, ConfigError)
    for reference, where in (("r.txt", "r.txt"), (None, "no --reference")):
        refused(replace(config, reference=reference, reference_column="a"),
                f"--reference-column is for .csv, .tsv and .jsonl files, found {where}", ConfigError)  # fmt: skip
    (tmp_path / "ref.txt").write_bytes(b"ok\n\xff\n")
    bad = replace(config, reference=str(tmp_path / "ref.txt"))
    refused(
        bad, f"{bad.reference} line 2, byte 1: expected UTF-8, found 0xff; convert the file to UTF-8 first", DataError
    )
    with pytest.raises(ConfigError, match=r"^expected another file for --out than the references, found .*ref.txt for"):
        run(replace(bad, out=bad.reference))


def test_noise_comes_after_a_clean_cache(config: TranslateConfig, tmp_path: Path) -> None:
    clean = ["a dog sees the cat", "", "the man sees the cat"]
    noisy = replace(config, noise=0.5, noise_seed=4)
    first = run(noisy)
    expected = [degrade(text, 0.5, 4) for text in clean]
    changed = sum(new != old for new, old in zip(expected, clean, strict=True))
    assert changed > 0
    assert Path(str(config.out)).read_text() == "".join(text + "\n" for text in expected)
    assert first.noise == {"rate": 0.5, "seed": 4, "degraded_lines": changed}
    (tmp_path / "ref.txt").write_text("".join(text + "\n" for text in clean))
    after = run(replace(config, reference=str(tmp_path / "ref.txt")))
    assert (after.cached, after.translated, after.noise) == (2, 0, None)
    assert after.scores is not None
    assert after.scores["bleu"] == pytest.approx(100)
    assert Path(str(config.out)).read_text() == "".join(text + "\n" for text in clean)
    scored = run(replace(noisy, reference=str(tmp_path / "ref.txt"))).scores
    assert scored is not None
    assert scored["bleu"] < 90  # of what is written


def test_flags_are_of_the_clean_translation(config: TranslateConfig) -> None:
    source = "X Y\nein Hund sieht die Katze 12\n"
    Path(str(config.file)).write_text(source)
    result = run(replace(config, noise=1.0))
    assert (result.flags, result.noise and result.noise["degraded_lines"]) == ({"copied": 1}, 2)
    report = json.loads(Path(str(result.report)).read_text())
    assert report["translation"] == "X Y"
    assert Path(str(config.out)).read_text().split("\n")[0] != "X Y"


def test_noise_does_not_depend_on_chunks(config: TranslateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "ein Hund sieht die Katze der Mann und das rot blau".split()
    lines = [f"{words[n % 11]} {words[n % 7]} {words[n % 5]} {words[n % 3]}" for n in range(40)]
    Path(str(config.file)).write_text("\n".join(lines))
    noisy = replace(config, noise=0.3)
    run(noisy)
    whole = Path(str(config.out)).read_bytes()
    monkeypatch.setattr("xpet.jobs.translate.run.CHUNK", 7)
    run(noisy)
    assert Path(str(config.out)).read_bytes() == whole
    Path(str(config.file)).write_text("\n".join(lines[20:]))
    run(noisy)
    assert Path(str(config.out)).read_bytes() == b"\n".join(whole.split(b"\n")[20:])


def test_noise_on_the_command_line(config: TranslateConfig, xpet: Command) -> None:
    pair = ["translate", str(config.file), "--from", "de", "--to", "en", "--noise", "1", "-o", str(config.out)]
    assert b"Degraded: 2 lines (rate 1, seed 1).\n" in xpet(*pair).stdout
    document = json.loads(xpet(*pair, "--json", "--noise-seed", "9").stdout)
    assert document["noise"] == {"rate": 1.0, "seed": 9, "degraded_lines": 2}


def test_scores_are_a_notice_without_an_output_file(config: TranslateConfig, tmp_path: Path) -> None:
    (tmp_path / "ref.txt").write_text("a dog sees the cat\n")
    events: list[Event] = []
    piped = replace(config, file=None, out=None, reference=str(tmp_path / "ref.txt"))
    out = io.BytesIO()
    result = run(piped, events.append, io.BytesIO(b"ein Hund sieht die Katze\n"), out)
    assert out.getvalue() == b"a dog sees the cat\n"
    (notice,) = [event for event in events if isinstance(event, Notice)]
    assert notice.text.startswith(f"Against {piped.reference}: BLEU 100.0 (nrefs:1|")
    assert result.scores is not None
