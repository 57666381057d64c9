from functions.ingest.cached_iterable import CachedIterable


def test_each_item_is_made_once_however_often_and_far_it_is_asked_for() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    kept = CachedIterable(make(number) for number in range(4))
    first = iter(kept)
    assert [next(first), next(first)] == [0, 1]
    del first
    assert list(kept) == list(kept) == [0, 1, 2, 3]
    assert made == [0, 1, 2, 3]


def test_an_iteration_within_another_takes_nothing_from_it() -> None:
    items = CachedIterable(iter("abcd"))
    seen = []
    for item in items:
        if item == "b":
            assert list(items) == ["a", "b", "c", "d"]
        seen.append(item)
    assert seen == ["a", "b", "c", "d"]
