"""Requests built from a story itself, so that "Tell me a story about a cat." gets a story about a cat.

No language model and no tagger: a noun is a word that follows a determiner often
enough in all stories; it is salient in one story if that story calls it "a NOUN" and
says it at least twice. A name is a capitalised word inside a sentence.
"""

import collections
import re

_DET = {"a", "an", "the", "his", "her", "my", "your", "their", "its", "some", "this", "that"}
_AFTER = {"and", "was", "were", "is", "are", "in", "on", "to", "that", "who", "with", "named", "had", "would", "from",
          "for", "at", "but", "or", "of", "said", "could", "by", "called", "came", "went", "when", "because", "did"}
_STOP = {"lot", "bit", "day", "time", "moment", "little", "way", "while", "end", "thing", "top", "side", "best", "good",
         "big", "new", "happy", "nice", "first", "other", "same", "piece", "kind", "part", "it", "one", "few", "story",
         "look", "walk", "hug", "smile", "girl", "boy", "mom", "dad", "fun", "great", "long", "small", "idea", "name",
         "minute", "hand", "voice", "group", "place", "something", "sudden", "step", "try", "chance", "turn", "once",
         "lesson", "result", "plan", "special", "right", "hurry", "noise", "sound", "pair", "loud", "next", "old"}
_NOT_NAMES = {"I", "Mom", "Mommy", "Mama", "Dad", "Daddy", "Papa", "Mum", "Mummy", "Grandma", "Grandpa", "The", "They",
              "He", "She", "It", "We", "You", "But", "And", "So", "Then", "One", "Once", "What", "Why", "How", "Yes",
              "No", "Oh", "Do", "Can", "Let", "My", "Look", "Wow", "Hi", "Hello", "OK", "Okay", "Mr", "Mrs", "Miss",
              "Thank", "Please", "Come", "This", "That", "There", "When", "If", "Don't", "I'm", "It's", "Sir", "Your",
              "Are", "Is", "Where", "Who", "Not", "In", "On", "At", "For", "With", "His", "Her", "Christmas", "Be"}
_WORD = re.compile(r"[A-Za-z']+|[.,!?;\"]")

PLAIN = ("Tell me a story.", "Tell me a short story.", "Tell me a story, please.", "Can you tell me a story?",
         "Write a short story.", "Please tell me a bedtime story.", "I want to hear a story.")
ABOUT = ("Tell me a story about {}.",) * 6 + (
    "Write a short story about {}.", "Write a story about {}.", "Can you tell me a story about {}?",
    "Please tell me a story about {}.", "I want to hear a story about {}.", "A story about {}, please.",
    "Tell me about {}.")


def nouns(stories, least=15):
    """Words that mostly behave like countable nouns over all stories."""
    after_det, before, total = collections.Counter(), collections.Counter(), collections.Counter()
    for s in stories:
        w = _WORD.findall(s)
        for i in range(1, len(w) - 1):
            x = w[i]
            if x.islower() and len(x) > 2 and "'" not in x:
                total[x] += 1
                after_det[x] += w[i - 1].lower() in _DET
                before[x] += w[i + 1] in ".,!?;\"" or w[i + 1].lower() in _AFTER
    return {x for x, n in total.items()
            if n >= least and after_det[x] >= 0.3 * n and before[x] >= 0.6 * n and x not in _STOP}


def salient(story, noun_set):
    """(nouns, names) a story is about, the most frequent first."""
    w = _WORD.findall(story)
    count, names, called = collections.Counter(), collections.Counter(), set()
    for i, x in enumerate(w):
        if x in noun_set:
            count[x] += 1
            if "a" in (y.lower() for y in w[max(0, i - 3):i]) or "an" in (y.lower() for y in w[max(0, i - 3):i]):
                called.add(x)
        elif i and x[0].isupper() and x.isalpha() and x not in _NOT_NAMES and w[i - 1].isalpha():
            names[x] += 1
    ns = [x for x, n in count.most_common() if n >= 2 and x in called][:4]
    return ns, [x for x, n in names.most_common(3) if n >= 2]


def _a(noun):
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def make(story, noun_set, rng):
    """One random request for a story: (request, answer)."""
    ns, names = salient(story, noun_set)
    r = rng.random()
    if r < 0.10 or not (ns or names):
        return rng.choice(PLAIN), story
    if r < 0.18:
        m = re.match(r"[^.!?\n]{20,160}[.!?]\"?(?=\s)", story)
        if m:
            return "Continue this story: " + m.group(0), story[m.end():].strip()
    things = [_a(n) for n in ns]
    if things and (r < 0.62 or not names):
        what = things[0] if len(things) == 1 or rng.random() < 0.5 else None
        if what is None:
            two = rng.sample(things[:3], 2)
            what = two[0] + " and " + two[1]
    elif names and (r < 0.78 or not things):
        what = names[0] if len(names) == 1 or rng.random() < 0.7 else names[0] + " and " + names[1]
    else:
        what = names[0] + " and " + rng.choice(things[:3])
    return rng.choice(ABOUT).format(what), story
