"""Reading and cleaning of the text collection (shared/data), used by the other scripts.

The collection's README describes every file. Nothing here is random: the same
files always give the same lists of stories.
"""

import lzma
import re
from pathlib import Path

# Whole books that are never trained on, so that the second, harder held-out text is honest.
HELD_OUT_BOOKS = ("The Tale of Fatty Coon", "American Fairy Tales", "The Adventures of Reddy Fox")

# The re-cased TinyStories file capitalises some function words in mid-sentence ("hugged The kitten").
# A closed list is enough to undo the most visible of these slips.
_SLIPS = ("The", "A", "An", "And", "But", "She", "He", "They", "It", "His", "Her", "Their", "In", "On", "To", "Of",
          "With", "For", "That", "This", "So", "Then", "When", "You", "We", "Was", "Is")
_SLIP_RE = re.compile(r"(?<=[a-z,;] )(" + "|".join(_SLIPS) + r")(?= )")


def read(data_dir, name):
    """The text of one packed file of the collection."""
    with lzma.open(Path(data_dir) / (name + ".xz"), "rt", encoding="utf-8") as f:
        return f.read()


def split_stories(text):
    """Stories of a TinyStories file; each is followed by a line <|endoftext|>."""
    parts = [s.strip() for s in text.split("<|endoftext|>")]
    return [s for s in parts if s]


def clean(story):
    """Keep to the plain characters that the small vocabulary can spend its merges on."""
    for a, b in (("–", "-"), ("—", "-"), ("…", "..."), ("«", '"'), ("»", '"'), ("\u00a0", " "), ("|", "I")):
        story = story.replace(a, b)
    return re.sub(r" +", " ", story)


def train_stories(data_dir):
    """TinyStories to train on: the original ones, then the re-cased ones with their slips mended."""
    stories = [clean(s) for s in split_stories(read(data_dir, "tinystories_train.txt"))]
    recased = split_stories(read(data_dir, "tinystories_train_recased.txt"))
    stories += [_SLIP_RE.sub(lambda m: m.group(1).lower(), clean(s)) for s in recased]
    return stories


def valid_stories(data_dir):
    """The held-out TinyStories, exactly as in the file (no cleaning: bits per byte count these bytes)."""
    return split_stories(read(data_dir, "tinystories_valid.txt"))


def books(data_dir, held_out):
    """(title, text) of the Gutenberg books: the held-out ones or all others."""
    out = []
    for part in read(data_dir, "gutenberg_stories.txt").split("<|book|> ")[1:]:
        title, text = part.split("\n", 1)
        if (title.strip() in HELD_OUT_BOOKS) == held_out:
            out.append((title.strip(), text.strip()))
    return out


def pieces(text, chars):
    """Cut a book at paragraph borders into pieces of about so many characters."""
    out, cur = [], ""
    for par in text.split("\n\n"):
        if cur and len(cur) + len(par) > chars:
            out.append(cur)
            cur = ""
        cur = cur + "\n\n" + par if cur else par
    if cur:
        out.append(cur)
    return out
