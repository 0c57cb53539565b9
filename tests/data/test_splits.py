"""Seeded splits, as the reference cuts them."""

from __future__ import annotations

import json

import pytest

from xpet.core.errors import ConfigError, DataError
from xpet.data.splits import PARTS, SplitPlan, apply, few_shot, permutation, split_for


def test_the_permutation_of_the_reference():
    assert permutation(1000)[:5] == [542, 618, 816, 68, 94]


def test_one_split_is_cut_in_three(corpus_of):
    corpus = corpus_of(all=1000)
    plan = few_shot(corpus, 50)
    order = permutation(1000)
    assert plan == SplitPlan(tuple(order[:50]), tuple(order[50:100]), tuple(order[100:]))
    assert len(few_shot(corpus, 50, val_shots=10).test) == 940
    assert few_shot(corpus, 50, seed=1) != plan
    split = apply(corpus, plan)
    assert list(split) == ["train", "validation", "test"]
    assert split["train"].images[0] == "all542.jpg"
    assert split["train"].captions["en"].slot("target")[0] == "all caption 542"
    assert split["train"].captions["en"].image_index == tuple(range(50))


def test_official_splits(corpus_of):
    corpus = corpus_of(train=100, validation=20, test=10)
    plan = few_shot(corpus, 5, val_shots=3)
    assert plan == SplitPlan(tuple(permutation(100)[:5]), tuple(permutation(20)[:3]), tuple(range(10)))
    assert len(few_shot(corpus, 50).validation) == 20
    full = few_shot(corpus, "all")
    assert full == SplitPlan(tuple(range(100)), tuple(range(20)), tuple(range(10)))


@pytest.mark.parametrize(
    ("sizes", "shots", "val_shots", "text"),
    [
        ({"all": 10}, 5, None, "expected at most 4 shots, found 5"),
        ({"all": 10}, 5, 5, "expected at most 4 shots, found 5"),
        ({"all": 10}, "all", None, "expected --shots N, found none"),
        ({"all": 10}, 0, 0, "expected at least 1 shots, found 0; expected at least 1 validation shots, found 0"),
        (
            {"train": 9, "validation": 3, "test": 1}, 10, 4,
            "expected at most 9 shots, found 10; expected at most 3 validation shots, found 4",
        ),
    ],
)  # fmt: skip
def test_more_than_there_is(corpus_of, sizes, shots, val_shots, text):
    with pytest.raises(ConfigError) as error:
        few_shot(corpus_of(**sizes), shots, val_shots)
    assert text in str(error.value)


def test_all_validation_images(corpus_of):
    plan = few_shot(corpus_of(train=30, validation=20, test=10), 5, "all")
    assert (len(plan.train), plan.validation) == (5, tuple(range(20)))
    assert few_shot(corpus_of(all=40), 5, "all") == few_shot(corpus_of(all=40), 5)


def test_a_corpus_without_train(corpus_of):
    with pytest.raises(DataError, match="expected a split train or all, found only validation, test"):
        few_shot(corpus_of(validation=5, test=5), 2)


@pytest.mark.parametrize("sizes", [{"all": 30}, {"train": 30, "validation": 10, "test": 10}])
def test_plans_survive_json(corpus_of, sizes):
    corpus = corpus_of(**sizes)
    plan = few_shot(corpus, 4)
    parts = {part: split_for(corpus, part).images for part in PARTS}
    named = {part: [images[index] for index in getattr(plan, part)] for part, images in parts.items()}
    assert SplitPlan.from_json(json.dumps(named), corpus) == plan


def test_wrong_split_files(corpus_of):
    corpus = corpus_of(all=9)
    named = {
        "train": ["all0.jpg", "all1.jpg", "all1.jpg", "x", "y"],
        "validation": ["all1.jpg"],
        "test": ["all2.jpg", "u", "v", "w", "z"],
    }
    with pytest.raises(DataError) as error:
        SplitPlan.from_json(json.dumps(named), corpus)
    assert error.value.problems == (
        "split file, train: expected images of tiny, found 2 (x, y) unknown",
        "split file, train: expected every image once, found 1 (all1.jpg) again",
        "split file, validation: expected every image once, found 1 (all1.jpg) again",
        "split file, test: expected images of tiny, found 4 (u, v, w, ...) unknown",
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{", "found Expecting"),
        ("[]", "found list"),
        ("[" * 9**5, "recursion"),
        (
            '{"train": ["a"], "validation": ["b"], "test": ["c"], "train": ["d"]}',
            "found train, validation, test, train",
        ),
        (json.dumps(dict.fromkeys(map(str, range(5000)), 1)), "found 0, 1, 2, 3, 4, 5, 6, 7, 8 and 4991 more"),
        (json.dumps({"train": ["a", 10**1999], "validation": ["b"], "test": {"a": 1}}), f"found {'1' + 18 * '0'}"),
        (json.dumps({"train": ["a"], "validation": ["b", {"c": 1}], "test": ["c"]}), "found an object in it"),
        (
            json.dumps({"train": ["a"], "validation": ["b"], "test": {"a": 1}}),
            "test: expected a list of image names, found an object",
        ),
        (
            json.dumps({"train": ["x" * 9999], "validation": ["\ud800"], "test": ["all1.jpg"]}),
            f"found 1 ('{'x' * 56}...)",
        ),
        (json.dumps({"train": ["x"], "validation": ["\ud800"], "test": ["all1.jpg"]}), r"found 1 ('\ud800') unknown"),
        ('{"train": []}', "found train"),
        ('{"train": [], "validation": "x", "test": [1]}', "found an empty one"),
    ],
)
def test_malformed_split_files(corpus_of, text, found):
    with pytest.raises(DataError, match="expected") as error:
        SplitPlan.from_json(text, corpus_of(all=9))
    assert found in str(error.value)
    assert len(str(error.value)) < 800
