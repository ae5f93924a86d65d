"""Which clips of your own music are for training and which for testing: no artist is in both splits."""

import hashlib
from collections import Counter

from common.errors import LabError, shown
from common.labels import normal_name
from extras.own_data.listing import SPLITS

TEST_FRACTION = 0.2


def refuse_single_genre(songs):
    genres = {song.genre for song in songs} - {None}
    if len(genres) == 1:
        raise LabError(f"at least two genres were expected, but all readable files are {min(genres)}")


def choose_test_ids(songs, test_fraction, seed):
    """The ids of the test split: about test_fraction of each genre's clips, all clips of an artist or none.

    A song without an artist counts as an artist of its own. The artists are ordered by a hash of seed and name, so that
    one more song changes the split of few others. An artist goes to the test split if that brings the genres closer to
    their test sizes, which are at least one clip of a genre with two or more. Then each genre without a test clip gets
    the artist that leads away least. Where songs have a column split, that is taken instead.
    """
    songs = [song for song in songs if song.genre]
    if any(song.split for song in songs):
        return given_test_ids(songs, test_fraction)
    sizes = Counter(song.genre for song in songs)
    wanted, groups = test_sizes(sizes, test_fraction), {}
    for song in songs:
        artist = f"artist {artist_of(song)}" if song.artist else f"song {song.stem or song.ident}"
        groups.setdefault((artist, "" if song.artist else song.file), []).append(song)
    test_ids, chosen = set(), Counter()

    def gain(counts):
        before = [abs(wanted[genre] - chosen[genre]) for genre in counts]
        return sum(before) - sum(abs(wanted[genre] - chosen[genre] - count) for genre, count in counts.items())

    def choose(group):
        chosen.update(song.genre for song in group)
        test_ids.update(song.ident for song in group)

    def leaves_some(counts):
        return all(chosen[genre] + count < sizes[genre] for genre, count in counts.items())

    names = sorted(groups, key=lambda name: (hashlib.sha256(f"{seed} {name[0]}".encode()).digest(), name))
    counted = {name: Counter(song.genre for song in groups[name]) for name in names}
    for name in names:
        if gain(counted[name]) > 0 and leaves_some(counted[name]):
            choose(groups[name])
    for genre in sorted(sizes):
        possible = [name for name in names if counted[name][genre] and leaves_some(counted[name])]
        if not chosen[genre] and possible:
            choose(groups[max(possible, key=lambda name: gain(counted[name]))])
    if sizes and not test_ids:
        found = "each artist has all songs of a genre, or each genre has one song"
        raise LabError(f"clips for a test split were expected, but {found}: no genre can be in both splits")
    return test_ids


def artist_of(song):
    return normal_name(song.artist).casefold()


def test_sizes(sizes, test_fraction):
    """{genre: test clips} for {genre: clips}."""
    fraction = TEST_FRACTION if test_fraction is None else test_fraction
    return {genre: min(max(1, round(size * fraction)), size - 1) for genre, size in sizes.items()}


def given_test_ids(songs, test_fraction):
    """The ids of the test split by the table's column split; LabError unless it has clips for both splits."""
    if test_fraction is not None:
        raise LabError("--test-share: the table's column split says which clips are for testing; leave one of them out")
    for split in SPLITS:
        if not any(song.split == split for song in songs):
            raise LabError(f"clips for the {split} split were expected, but the table's column split has none")
    return {song.ident for song in songs if song.split == "test"}


def describe_split(songs, test_ids, test_fraction):
    """Notes on a split: genres that are not in both parts, artists that are, and another size than was asked for."""
    parts = [
        [song for song in songs if song.genre and (song.ident in test_ids) == in_test] for in_test in (False, True)
    ]
    (train, test), notes = ({song.genre for song in part} for part in parts), []
    by_column = any(song.split for part in parts for song in part)
    for genre in train ^ test:
        count = sum(song.genre == genre for part in parts for song in part)
        alone = "it has one clip" if count == 1 else "all its songs are by one artist"
        missing = "test" if genre in train else "training"
        notes.append(f"genre {genre}: no {missing} clip, {'by the column split' if by_column else alone}")
    artists = set.intersection(*({artist_of(song) for song in part if song.artist} for part in parts))
    if artists:
        notes.append(f"artists on both splits, by the column split: {len(artists)}, among them {shown(min(artists))}")
    wanted = sum(test_sizes(Counter(song.genre for part in parts for song in part), test_fraction).values())
    if not by_column and abs(len(parts[1]) - wanted) > max(1, wanted // 4):
        total = len(parts[0]) + len(parts[1])
        notes.append(
            f"test split: {len(parts[1])} of {total} clips, {wanted} were asked for; an artist is in one split"
        )
    return sorted(notes)
