"""From the bytes of a person's file to the columns a task needs; nothing is guessed in silence.

    bytes ──► text ──► rows of typed values ──► what a row says ──► columns of a task
    content            separated, structured,    understand          labels, tags, spans,
                       lines, arrow                                  chat, answers

Each step adds a note that says what it did. No list or object is ever turned into text. The modules are imported when data is
read; none of them needs torch.
"""
