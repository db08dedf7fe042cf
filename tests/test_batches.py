import numpy as np

from harness.batches import evaluation_batches, training_batches

LENGTHS = [int(length) for length in np.random.default_rng(0).integers(3, 60, size=203)]


def test_every_row_is_in_exactly_one_batch_of_an_epoch():
    batches = training_batches(LENGTHS, 16, (0, 0, 0))
    assert sorted(np.concatenate(batches)) == list(range(203))
    assert sorted(len(batch) for batch in batches) == [11] + [16] * 12


def test_the_same_seed_draws_the_same_batches_and_another_seed_others():
    first, again, other = (training_batches(LENGTHS, 16, (seed, 0, 0)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_batches_of_like_length_waste_less_padding_than_a_plain_shuffle():
    def padding(batches: list[np.ndarray]) -> int:
        return sum(
            max(LENGTHS[row] for row in batch) * len(batch) - sum(LENGTHS[row] for row in batch) for batch in batches
        )

    shuffled = np.random.default_rng(0).permutation(203)
    plain = [shuffled[at : at + 16] for at in range(0, 203, 16)]
    assert padding(training_batches(LENGTHS, 16, (0, 0, 0))) < padding(plain) / 4


def test_evaluation_begins_with_the_longest_and_covers_every_row_once():
    batches = evaluation_batches(LENGTHS, 64)
    assert LENGTHS[batches[0][0]] == max(LENGTHS)
    assert sorted(np.concatenate(batches)) == list(range(203))


def test_a_token_budget_holds_whatever_the_lengths():
    lengths = np.random.default_rng(0).integers(1, 60, size=500)
    lengths[7] = 300
    batches = training_batches(lengths, 16, (0,), batch_tokens=256)
    assert sorted(np.concatenate(batches)) == list(range(500))
    sizes = [len(rows) * lengths[rows].max() for rows in batches if 7 not in rows]
    assert max(sizes) <= 256
    assert next(list(rows) for rows in batches if 7 in rows) == [7]
