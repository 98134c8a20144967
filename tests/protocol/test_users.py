"""Plans: who adapts to what."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekws.core.errors import UserError
from edgekws.protocol import users as plan
from edgekws.protocol.settings import ManyUsers, OneUser
from edgekws.protocol.tasks import first_folds, tasks


def make_index(takes, *, split="test", repeats=0):
    """An index of {speaker: {word: takes}}; the last ``repeats`` takes of each word repeat its first one's audio."""
    rows = []
    for speaker, words in takes.items():
        for word, count in words.items():
            for take in range(count):
                first = f"{word}/{speaker}_nohash_0.wav"
                repeat = first if take and take >= count - repeats else ""
                path = f"{word}/{speaker}_nohash_{take}.wav"
                rows.append((word, speaker, take, path, f"audio of {repeat or path}", split, repeat))
    table = pd.DataFrame(rows, columns=["word", "speaker", "take", "path", "sha256", "split", "repeat_of"])
    table = table.sort_values(["word", "speaker", "take"]).reset_index(drop=True)
    return table.assign(clip=range(len(table)))


def test_one_user_split_of_the_paper():
    """Known sizes: int(0.8 n) of each word's n clips go to the pool."""
    index = make_index({"aa": {"yes": 10, "no": 3, "up": 1}, "bb": {"yes": 4}}, split="train")
    table, facts = plan.one_user(index, OneUser(speaker="aa", split_seeds=[42]))
    words = index.word
    pool = table[table.role == "support"]
    assert pool["clip"].map(words).value_counts().to_dict() == {"yes": 8, "no": 2}
    assert facts["query_clips"] == 2 + 1 + 1 and facts["pool_clips"] == 10
    assert set(table["clip"]) == set(index["clip"][index.speaker == "aa"])


def test_one_user_drops_words_with_too_small_a_pool():
    index = make_index({"aa": {"yes": 10, "no": 3}}, split="train")
    table, facts = plan.one_user(index, OneUser(speaker="aa", split_seeds=[42]))

    def support(shot):
        clips = plan.support_of(table, shot, index.word, short_words=facts["short_words"])
        return index.word[clips].value_counts().to_dict()

    assert support(1) == {"yes": 1, "no": 1}
    assert support(5) == {"yes": 5}
    assert support("all") == {"yes": 8, "no": 2}


def test_one_user_counts_audio_on_both_sides():
    index = make_index({"aa": {"yes": 10}}, split="train", repeats=9)
    _, facts = plan.one_user(index, OneUser(speaker="aa", split_seeds=[42, 7]))
    assert facts["repeats_across"] == [2, 2]


def test_each_split_seed_is_a_fold_and_the_first_is_what_it_is_alone():
    index = make_index({"aa": {"yes": 10, "no": 5, "up": 3}}, split="train")
    table, facts = plan.one_user(index, OneUser(speaker="aa", split_seeds=[42, 43, 44]))
    assert facts["split_seeds"] == [42, 43, 44]
    folds = [rows.drop(columns="fold").reset_index(drop=True) for _, rows in table.groupby("fold")]
    assert len(folds) == 3
    for fold, seed in zip(folds, facts["split_seeds"], strict=True):
        alone, _ = plan.one_user(index, OneUser(speaker="aa", split_seeds=[seed]))
        pd.testing.assert_frame_equal(fold, alone.drop(columns="fold"))
        assert (fold.role == "query").sum() == facts["query_clips"] == 4
        assert sorted(fold["clip"]) == list(index["clip"])
    queries = {frozenset(fold["clip"][fold.role == "query"]) for fold in folds}
    assert len(queries) > 1


def test_the_whole_of_gsc_must_leave_74_clips_in_each_split():
    from edgekws.corpus.index import KNOWN_ARCHIVES

    whole = {"archive_sha256": KNOWN_ARCHIVES["speech_commands_v0.02.tar.gz"]}
    index = make_index({"c50f55b8": {f"word{number:02}": 10 for number in range(35)} | {"yes": 18}}, split="train")
    table, facts = plan.one_user(index, OneUser())
    assert facts["query_clips"] == 74
    plan.check_full_gsc(table, facts, whole)
    last = table[(table.fold == 4) & (table.role == "query")].index[-1]
    with pytest.raises(UserError, match="leaves 73 query clips, the paper 74"):
        plan.check_full_gsc(table.drop(index=last), facts, whole)
    plan.check_full_gsc(table.drop(index=last), facts, {"archive_sha256": "another"})


def test_no_speaker_given_takes_the_busiest_of_the_training_split():
    index = pd.concat([make_index({"aa": {"yes": 4}, "bb": {"yes": 6, "no": 6}}, split="train"),
                       make_index({"cc": {"yes": 20, "no": 20}})], ignore_index=True)
    index["clip"] = range(len(index))
    assert plan.one_user(index, OneUser(speaker=None))[1]["user"] == "bb"


def test_unknown_speaker_is_named_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'c50f55b8'"):
        plan.one_user(make_index({"c50f55b8": {"yes": 5}}), OneUser(speaker="c50f55b9"))


@given(st.dictionaries(st.sampled_from(["yes", "no", "up", "down"]), st.integers(1, 9), min_size=1),
       st.integers(2, 6), st.integers(0, 3))
def test_folds_share_no_audio_and_cover_every_take_once(words, folds, repeats):
    index = make_index({"aa": words}, repeats=repeats)
    distinct = index[index.repeat_of == ""]
    if len(distinct) < folds:
        return
    table, _ = plan.many_users(index, ManyUsers(minimum_takes=len(distinct), folds=folds))
    queried = []
    for _, fold in table.groupby("fold"):
        query, pool = (fold["clip"][fold.role == role] for role in ("query", "support"))
        assert set(index.sha256[query]).isdisjoint(index.sha256[pool])
        assert len(query) + len(pool) == len(distinct)
        queried += list(query)
    assert sorted(queried) == sorted(distinct["clip"])
    sizes = table[table.role == "query"].groupby("fold").size()
    assert sizes.max() - sizes.min() <= 1


@given(st.integers(1, 8))
def test_shots_are_nested_and_bounded(shot):
    index = make_index({"aa": {"yes": 9, "no": 4}})
    table, facts = plan.many_users(index, ManyUsers(minimum_takes=5, folds=2))
    fold = table[table.fold == 0]
    fewer, more = (plan.support_of(fold, k, index.word, short_words=facts["short_words"]) for k in (shot, shot + 1))
    assert set(fewer) <= set(more) <= set(plan.support_of(fold, "all", index.word, short_words="keep"))
    assert index.word[fewer].value_counts().max() <= shot


def three_splits(repeats=0):
    index = pd.concat([make_index({"aa": {"yes": 8}, "bb": {"yes": 4}}, split="train", repeats=repeats),
                       make_index({"cc": {"yes": 8}}, split="validation"), make_index({"dd": {"yes": 8}})], ignore_index=True)
    return index.assign(clip=range(len(index)))


def test_users_of_the_training_split_report_and_are_left_out_of_training():
    table, facts = plan.many_users(three_splits(), ManyUsers(splits=["train", "validation", "test"], minimum_takes=8, folds=2))
    assert dict(zip(table.user, table.split, strict=True)) == {"aa": "train", "cc": "validation", "dd": "test"}
    assert set(table.user[table.split.isin(plan.REPORT)]) == {"aa", "dd"}
    one = plan.one_user(three_splits(), OneUser(speaker="bb", split_seeds=[42]))
    assert plan.left_out(one, (table, facts)) == ["aa", "bb"]
    assert plan.left_out(plan.many_users(three_splits(), ManyUsers(minimum_takes=8, folds=2))) == []


def test_users_are_drawn_from_each_split_and_a_larger_draw_holds_a_smaller_one():
    parts = [make_index({f"{split}{number}": {"yes": 4} for number in range(size)}, split=split)
             for split, size in (("validation", 3), ("test", 12))]
    index = pd.concat(parts, ignore_index=True).assign(clip=range(4 * 15))
    drawn = {}
    for users in (2, 5, 12, None):
        table, facts = plan.many_users(index, ManyUsers(minimum_takes=4, folds=2, users=users))
        drawn[users] = set(table.user)
        assert facts["users"] == len(drawn[users]) == min(users or 3, 3) + min(users or 12, 12)
        assert table.groupby("user").split.first().value_counts()["test"] == min(users or 12, 12)
    assert drawn[2] < drawn[5] < drawn[12] == drawn[None]
    whole, _ = plan.many_users(index, ManyUsers(minimum_takes=4, folds=2))
    some, _ = plan.many_users(index, ManyUsers(minimum_takes=4, folds=2, users=5))
    kept = whole[whole.user.isin(drawn[5])].reset_index(drop=True)
    pd.testing.assert_frame_equal(some, kept, obj="a user's folds are the same, whoever else takes part")
    other, _ = plan.many_users(index, ManyUsers(minimum_takes=4, folds=2, users=5, split_seed=1))
    assert set(other.user) != drawn[5]


def test_a_speaker_of_repeats_alone_is_no_user():
    settings = ManyUsers(splits=["train"], minimum_takes=8, folds=2)
    with pytest.raises(UserError, match="no speaker of the splits train has 8 distinct takes"):
        plan.many_users(three_splits(repeats=1), settings)


def test_a_corpus_without_users_says_so():
    with pytest.raises(UserError, match="has 20 distinct takes"):
        plan.many_users(make_index({"aa": {"yes": 5}}), ManyUsers())


def made_up_users(number, takes, *, splits=("test",)):
    """An index and a plan of users who said the same words equally often, as many in each split."""
    parts = [make_index({f"{split}{name:02d}": takes for name in range(number)}, split=split) for split in splits]
    index = pd.concat(parts, ignore_index=True)
    index = index.assign(clip=range(len(index)))
    table, facts = plan.many_users(index, ManyUsers(splits=list(splits), minimum_takes=1))
    return index, table, facts


@pytest.mark.parametrize("takes", [{"down": 2, "go": 2, "left": 2, "no": 2}, {"down": 3, "go": 1, "left": 4, "no": 3}])
def test_one_fold_of_each_user_is_a_fair_sample_of_all(takes):
    """Where all users said the same, a fold holds the same words for all of them: fold 0 alone is another test."""
    index, table, facts = made_up_users(20, takes)

    def asked(work):
        """Query clips of each word, and support clips, of a task on average."""
        words = pd.concat([index.word[task.query] for task in work]).value_counts()
        return {**(words / len(work)), "support": sum(len(task.support) for task in work) / len(work)}

    whole = tasks(table, facts, index.word, shots=["all"])
    for folds in (1, 2, 3):
        some = tasks(table, facts, index.word, shots=["all"], folds=folds)
        assert len(some) == 20 * folds and {task.fold for task in some} == set(range(5))
        assert asked(some) == pytest.approx(asked(whole))
    assert asked([task for task in whole if task.fold == 0]) != pytest.approx(asked(whole))


def test_fewer_folds_are_some_of_more_whoever_else_is_asked():
    index, table, facts = made_up_users(7, {"down": 5, "go": 5}, splits=("validation", "test"))

    def chosen(**some):
        return {(task.user, task.fold) for task in tasks(table, facts, index.word, shots=["all"], **some)}

    assert chosen(folds=1) < chosen(folds=2) < chosen(folds=5) == chosen()
    assert chosen(folds=1, splits=["test"], users=3) < chosen(folds=1, splits=["test"]) < chosen(folds=1)
    assert chosen(folds=1) == {(user, first) for user, first in first_folds(table, facts).items()}
    turned = [chosen(folds=1, turn=turn) for turn in range(5)]
    assert turned[0] == chosen(folds=1) and set().union(*turned) == chosen() and sum(map(len, turned)) == len(chosen())
    other = first_folds(table, {**facts, "split_seed": 1})
    assert other != first_folds(table, facts)
