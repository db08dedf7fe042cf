"""Turns the bytes of a user's file into the columns a task needs; nothing is inferred silently.

    bytes ──► text ──► rows of typed values ──► kind of labels ──► columns of a task
    content            separated, structured,    understand          labels, tags, spans,
                       lines, arrow                                  chat, answers

Each step adds a note on what it did. Lists and objects are never converted to text. The modules are imported when data
is read; none of them needs torch.
"""
