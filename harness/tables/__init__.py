"""The numbers of a comparison become columns, notes and text: what reporters are handed."""
