"""Attention shown where to look.

What belongs to what is read off a text by heads that find the word asked for and its neighbours (Elhage et al. 2021,
"A mathematical framework for transformer circuits"; Olsson et al. 2022, "In-context learning and induction heads").
Models as small as these come upon such heads late or never; told where some of their heads have to look, as a part of
the loss, they have them after a few hundred steps."""

import torch


def looks(attention, head, places):
    """How little a head looks where it should, from 0. `attention` is (batch, heads, queries, keys) after the softmax,
    `places` a list of (row, query, key)."""
    rows, queries, keys = map(list, zip(*places))
    return -(attention[rows, head, queries, keys] + 1e-6).log().mean()


def looks_among(attention, head, places):
    """The same where any of several keys will do: `places` is a list of (row, query, keys)."""
    spread = [(row, query, key, number) for number, (row, query, keys) in enumerate(places) for key in keys]
    rows, queries, keys, numbers = map(list, zip(*spread))
    seen = attention.new_zeros(len(places)).index_add(0, torch.tensor(numbers), attention[rows, head, queries, keys])
    return -(seen + 1e-6).log().mean()


def looks_back(attention, head):
    """The same for a head that should look at the token before."""
    return -(attention[:, head].diagonal(-1, 1, 2) + 1e-6).log().mean()
