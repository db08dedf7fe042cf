"""The numbers of a comparison become a choice, with its reasons."""
