import pytest

from harness import HarnessError
from harness_plugins.reading.separated import read

PROSE = [("I liked, no, loved it; really", "pos"), ("It's bad; very, very bad", "neg"), ("so | so", "neg")]


def parsed(text, separator=None, *, usual=",", header=True, quoted=True):
    return read("a.csv", text, separator, usual, ("text", "label"), header=header, quoted=quoted)


def refusal(text, **settings):
    with pytest.raises(HarnessError) as error:
        parsed(text, **settings)
    message = str(error.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(("separator", "name"), [(";", "';'"), ("\t", "a tab"), ("|", "'|'")])
def test_another_separator_than_the_usual_is_found_and_said(separator, name):
    rows = [f'"{text}"{separator}{label}' for text, label in PROSE * 10]
    found = parsed("\n".join([f"text{separator}label", *rows]))
    assert found.columns["text"][:3] == [text for text, _ in PROSE]
    assert found.notes == (f"separator {name}",)


def test_a_header_with_the_wanted_columns_needs_no_search():
    found = parsed('text,label\n"a;b;c;d",x\n"e;f;g;h",y\n')
    assert found.columns == {"text": ["a;b;c;d", "e;f;g;h"], "label": ["x", "y"]}
    assert found.notes == ()


def test_excels_own_line_names_the_separator():
    assert parsed("sep=;\ntext;label\na;x\n").columns == {"text": ["a"], "label": ["x"]}


def test_a_given_separator_is_taken():
    assert parsed("text:label\na:x\n", ":").columns == {"text": ["a"], "label": ["x"]}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_every_system_are_rows(end):
    assert parsed(end.join(["text,label", "a,x", "b,y", ""])).columns["text"] == ["a", "b"]


def test_values_may_hold_line_ends_separators_and_doubled_quotes():
    found = parsed('text,label\n"He said ""no"",\nand left",x\nb,y\n')
    assert found.columns["text"] == ['He said "no",\nand left', "b"]


def test_empty_rows_are_left_out_and_counted():
    found = parsed("text,label\na,x\n,\n , \nb,y\n,,,\n")
    assert (found.columns["text"], found.empty, list(found.numbers)) == (["a", "b"], 3, [1, 4])


def test_a_column_without_a_name_is_called_by_its_number_and_empty_ones_at_the_end_are_none():
    assert list(parsed(",text,label,,\n0,a,x,,\n").columns) == ["column (1)", "text", "label"]


def test_a_short_row_lacks_its_last_values():
    assert parsed("text,label\na\n").columns == {"text": ["a"], "label": [None]}


def test_a_row_with_too_many_values_is_named():
    message = refusal("text,label\na,x\nfine, really,y\n")
    assert message.startswith("a.csv: row 2 has 3 values, but the header has 2 columns; put quotes around values")


STRAY = {
    "never closed": 'text,label\n"stray,pos\nb,neg\n',
    "closed within a value": 'text,label\n"great film,pos\nhe said "no" twice,neg\n',
    "closed at the end of another value": 'text,label\nx,neg\n"great film,pos\nso so,neg\nhe said so",pos\n',
}


@pytest.mark.parametrize("text", STRAY.values(), ids=STRAY)
def test_a_stray_quote_swallows_no_rows_and_the_mend_reads_them_all(text):
    message = refusal(text)
    assert message.startswith("a.csv: row ")
    assert "-o file.quoted=false" in message
    assert len(parsed(text, quoted=False)) == text.count("\n") - 1


def test_quotes_escaped_by_a_backslash_are_read_and_said():
    found = parsed('text,label\n"she said \\"no\\", twice",x\n')
    assert found.columns["text"] == ['she said "no", twice']
    assert found.notes == ("quotes are escaped with a backslash",)


def test_two_columns_of_one_name_are_known_as_such():
    assert parsed("text,label,label\na,x,y\n").doubled == {"label"}
