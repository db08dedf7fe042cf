"""How components are told apart in a table."""

from harness.analysis.names import called, distinct
from harness.records import ComponentRef


def data(name: str, path: str | None = None, fingerprint: str | None = None) -> ComponentRef:
    return ComponentRef(name=name, version=1, location={"path": path} if path else {}, fingerprint=fingerprint)


def test_components_of_one_name_are_told_apart_by_their_files_else_by_number():
    imdb, one, two = data("imdb"), data("file", "a/reviews.csv", "1"), data("file", "b/tickets.csv", "2")
    elsewhere = data("file", "b/reviews.csv", "3")
    names = distinct([imdb, one, imdb], lambda dataset: dataset.name)
    assert names == ["imdb", "file", "imdb"]
    names = distinct([imdb, one, two, elsewhere, one], lambda dataset: dataset.name)
    assert names == ["imdb", "file reviews.csv", "file tickets.csv", "file reviews.csv 2", "file reviews.csv"]
    assert distinct([one, elsewhere], called) == ["file reviews.csv", "file reviews.csv 2"]
