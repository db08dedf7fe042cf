from harness.analysis.cache import AnalysisCache


def test_values_are_kept_and_read_at_once_or_one_by_one(tmp_path):
    cache = AnalysisCache(tmp_path / "new" / "a.sqlite")
    runs = [f"run{number}" for number in range(1201)]
    for run in runs:
        cache.put(run, "score", run.encode())
    assert cache.get("run7", "score") == b"run7"
    cache.save()

    again = AnalysisCache(tmp_path / "new" / "a.sqlite")
    again.read([*runs[:-1], "never stored"])
    assert all(again.get(run, "score") == run.encode() for run in runs)
    assert again.get("never stored", "score") is None
    assert again.get("run7", "other") is None


def test_saving_keeps_what_others_have_written_meanwhile(tmp_path):
    first, second = (AnalysisCache(tmp_path / "a.sqlite") for _ in range(2))
    first.read(["run"])
    second.put("run", "theirs", b"2")
    second.save()
    first.put("run", "mine", b"1")
    first.save()
    found = AnalysisCache(tmp_path / "a.sqlite")
    assert (found.get("run", "mine"), found.get("run", "theirs")) == (b"1", b"2")


def test_a_damaged_file_is_treated_as_missing_and_replaced(tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_bytes(b"this is no database" * 100)
    cache = AnalysisCache(path)
    assert cache.get("run", "score") is None
    cache.put("run", "score", b"1")
    cache.save()
    assert AnalysisCache(path).get("run", "score") == b"1"


def test_without_a_file_values_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = AnalysisCache()
    cache.put("run", "score", b"1")
    cache.save()
    assert cache.get("run", "score") == b"1"
    assert not list(tmp_path.iterdir())
