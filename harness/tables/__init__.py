"""Turn the numbers of a comparison into tables: columns, notes and text, the input of reporters."""
