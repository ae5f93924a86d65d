"""The tables of the demo music: the parameters of the lab's 20 genres, drum and rhythm patterns, harmonies."""

# Tables are easier to read with several entries a line:
# fmt: off

# The parameters of a genre. "a:3 b:1" is a choice with weights; numbers are means: bpm, semitones, dB, fractions in
# 0..1. Most numbers are then drawn widely around their mean (see `parameters`), so that genres overlap as in real music.
BASIS = {
    "tempo": 112, "triple": 0.05, "swing": 0.05, "minor": 0.45, "sevenths": 0.15, "harmony": "pop:3 riff:1", "change": "4:3 2:1 8:1",
    "drums": "rock", "drum_level": 1, "bass": "root:1 eighths:2 walk:.2", "bass_voice": "bass", "bass_level": -2,
    "comp": "strum:2 eighths:1", "comp_voice": "clean:1 guitar:1", "comp_level": -5, "lead": "song", "lead_voice": "voice",
    "lead_level": -3, "pad": "none:2 organ:1 strings:1", "pad_level": -12, "busy": 0.5, "bright": 0.0, "tilt": 0.0, "cutoff": 10500,
    "lowcut": 45, "noise": -73, "room": 0.25, "swell": 10, "squeeze": 0.24, "loose": 9, "pump": 0.0,
}


def related(genre, **changes):
    """The table of a genre with some entries changed, so that related genres sound alike."""
    return {**genre, **changes}


ROCK = related(BASIS, comp="eighths:2 strum:2 power:1", comp_voice="overdrive:3 clean:1 distorted:1", comp_level=-3, squeeze=0.35,
    tempo=120, drums="rock:4 drive:1 motorik:1", bass="eighths:3 root:1", lead_voice="voice:3 overdrive:1", bright=0.3)
FOLK = related(BASIS, comp="picking:3 strum:2", comp_voice="guitar:4 banjo:1 piano:.5", drums="none:3 shaker:1 brushes:1 rock:1",
    bass="none:1 root:1", tempo=104, triple=0.25, minor=0.35, squeeze=0.1, swell=11, comp_level=-1, lead_level=-1, cutoff=9500)
METAL = related(ROCK, comp="power:3 gallop:2", comp_voice="distorted:3 overdrive:2 clean:.5", comp_level=-2, minor=0.85,
    harmony="riff:3 pop:1", tempo=140, drums="double:2 rock:1 dbeat:2", lead="song:1 solo:1 rap:1", lead_voice="voice:2 distorted:1",
    pad="none", busy=0.7, squeeze=0.52, swell=6, tilt=0.5)
ELECTRONIC = related(BASIS, tempo=124, drums="house:3 breaks:1 electro:1", bass="offbeat:2 sixteenths:1 eighths:1",
    bass_voice="synthbass:2 sub:1", comp="stabs:2 sixteenths:1 arpeggio:1", comp_voice="saw:2 pluck:2 epiano:.5",
    lead="arp:1 riff:2 none:1", lead_voice="saw:2 pluck:2 square:1 voice:.5", pad="pad:2 none:1", minor=0.7, harmony="loop:2 riff:1",
    noise=-80, squeeze=0.35, swell=11, loose=2, pump=1.5, drum_level=3)
HIPHOP = related(BASIS, tempo=92, drums="hiphop:3 trap:1", bass="synco:2 root:1", bass_voice="sub:2 bass:1",
    comp="stabs:1 sustain:1 riff:1", comp_voice="piano:1 epiano:1 strings:1 pluck:1", comp_level=-8, lead="rap:5 song:1", lead_level=0,
    harmony="loop:3 riff:1", minor=0.75, swing=0.2, drum_level=4, bass_level=1, squeeze=0.35, swell=6, loose=6)
GENRES = {
    "Rock": ROCK,
    "Psych-Rock": related(ROCK, room=0.45, pad="organ:2 none:1", tempo=112, harmony="riff:2 loop:1 pop:1", lead="solo:1 song:1", swell=11,
        drums="rock:2 motorik:1 breaks:1"),
    "Indie-Rock": related(ROCK, comp_voice="clean:2 overdrive:1 guitar:1", tilt=-0.2),
    "Post-Rock": related(ROCK, comp="picking:2 eighths:1 sustain:1", lead="none:2 riff:1 solo:1", lead_voice="clean:2 violin:1",
        swell=23, room=0.55, tempo=100, pad="strings:1 pad:1", triple=0.15, squeeze=0.14),
    "Folk": FOLK,
    "Psych-Folk": related(FOLK, room=0.45, pad="pad:1 organ:1 none:2", harmony="drone:1 riff:1 pop:1",
        lead_voice="voice:3 flute:1 violin:1", minor=0.5),
    "Metal": METAL,
    "Punk": related(METAL, drums="dbeat:3 drive:2", comp="eighths:3 power:1", comp_voice="distorted:2 overdrive:2",
        harmony="pop:3 riff:1", minor=0.35, tempo=168, lead="song:2 rap:1", lead_voice="voice", tilt=0.3),
    "Post-Punk": related(ROCK, drums="motorik:2 drive:1 electro:1", minor=0.7, comp_voice="clean:2 overdrive:1 saw:.5", bass_level=1,
        tempo=136),
    "Trip-Hop": related(HIPHOP, tempo=84, drums="triphop:3 breaks:1", lead="song:2 none:1", lead_level=-4, pad="strings:2 pad:2",
        room=0.5, tilt=-0.5, noise=-58, comp_voice="epiano:3 piano:1 strings:1", comp="sustain:2 arpeggio:1", minor=0.85, swell=10),
    "Pop": related(BASIS, drums="rock:1 house:1 electro:1", comp_voice="piano:2 guitar:1 saw:1 epiano:1",
        comp="eighths:1 stabs:1 sustain:1", pad="strings:1 pad:2 none:1", lead_level=0, minor=0.3, squeeze=0.39, tempo=116, pump=0.3,
        bass_voice="bass:2 synthbass:1"),
    "Electronic": ELECTRONIC,
    "Chiptune": related(ELECTRONIC, comp_voice="square", lead_voice="square", bass_voice="square:2 synthbass:1", lead="arp:3 riff:2",
        comp="arpeggio:2 sixteenths:1", drums="chip:3 electro:1", room=0.03, noise=-88, pad="none", minor=0.5, pump=0, tempo=138,
        harmony="pop:2 riff:1"),
    "Hip-Hop": HIPHOP,
    "Classical": related(BASIS, drums="none", bass="long:1 none:1", bass_voice="strings:1 piano:1",
        comp="alberti:2 sustain:2 picking:1 chorale:1", comp_voice="piano:2 strings:3", lead="melody:3 solo:1",
        lead_voice="violin:2 piano:2 flute:1 reed:1", pad="strings:1 none:1", harmony="cadence", triple=0.4, swell=25, squeeze=0.0,
        room=0.5, tempo=100, loose=16, cutoff=8000, tilt=-0.8, noise=-70, busy=0.55),
    "Blues": related(BASIS, swing=0.8, harmony="blues:5 riff:1", sevenths=0.8, minor=0.3, comp="shuffle:3 strum:1",
        bass="walk:2 eighths:1", comp_voice="clean:2 overdrive:1 guitar:1 piano:1", lead="solo:2 song:2",
        lead_voice="voice:2 overdrive:2 reed:.5", triple=0.15, drums="shuffle:4 none:1", tempo=100, change="4", pad="none:2 organ:1",
        squeeze=0.17, cutoff=9000),
    "Jazz": related(BASIS, swing=0.75, harmony="jazz", sevenths=0.95, drums="swing:4 brushes:1 bossa:1 none:.7", bass="walk:4 root:1",
        bass_voice="upright", comp="comping:3 sustain:1", comp_voice="piano:3 clean:1 epiano:1", comp_level=-6, lead="solo:4 melody:1",
        lead_voice="reed:2 brass:2 piano:1 voice:.5", tempo=132, change="4:2 2:1", squeeze=0.07, swell=11, pad="none", drum_level=-4,
        cutoff=9000, tilt=-0.3, busy=0.6),
    "Soundtrack": related(BASIS, drums="none:3 toms:1", lead="none:2 melody:1", lead_voice="violin:1 piano:1 bell:1",
        comp="sustain:2 arpeggio:1", comp_voice="strings:2 piano:1 pad:1 bell:1", pad="pad:1 strings:2", swell=23, room=0.7, squeeze=0.0,
        tempo=84, change="4:1 8:2", minor=0.7, bass="long", bass_voice="strings:1 sub:1", cutoff=8500),
    "International": related(FOLK, drums="bossa:2 shaker:1 toms:2", harmony="drone:1 riff:2",
        lead_voice="voice:2 violin:1 flute:1 reed:1", lead="melody:1 song:1 solo:1", minor=0.65, loose=14, triple=0.3),
    "Old-Time": related(FOLK, comp="strum:2 picking:1", comp_voice="banjo:2 guitar:2", lead="melody:2 song:1",
        lead_voice="violin:2 voice:1 banjo:1", minor=0.1, cutoff=5000, noise=-48, lowcut=150, tempo=116, drums="none", room=0.1),
}

# One bar in sixteenths: "x" is a hit, "o" a soft one. A bar of 3/4 takes the first twelve.
DRUM_BARS = {
    "none": {},
    "rock": {"kick": "x.......x.x.....", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
    "drive": {"kick": "x.x...x.x.x...x.", "snare": "....x.......x...", "open": "x...x...x...x...", "hat": "..x...x...x...x."},
    "motorik": {"kick": "x.x...x.x.x...x.", "snare": "....x.......x...", "hat": "x.x.x.x.x.x.x.x.", "ride": "x...x...x...x..."},
    "dbeat": {"kick": "x..x..x.x..x..x.", "snare": "..x...x...x...x.", "open": "x.x.x.x.x.x.x.x."},
    "double": {"kick": "xxxxxxxxxxxxxxxx", "snare": "....x.......x...", "crash": "x...............", "ride": "x...x...x...x..."},
    "house": {"kick": "x...x...x...x...", "clap": "....x.......x...", "open": "..x...x...x...x.", "hat": "xxoxxxoxxxoxxxox"},
    "electro": {"kick": "x.....x...x.....", "clap": "....x.......x...", "hat": "x.x.x.x.x.x.x.x."},
    "breaks": {"kick": "x.x.......xx....", "snare": "....x..o.o..x..o", "hat": "x.x.x.x.x.x.x.x."},
    "hiphop": {"kick": "x..x...x..x.....", "snare": "....x.......x...", "hat": "x.x.x.xxx.x.x.x."},
    "trap": {"boom": "x.....x...x.....", "clap": "........x.......", "hat": "xxxxxxxxxxxxxxxx", "open": "......x........."},
    "triphop": {"kick": "x.....x..x......", "snare": "....x..o....x...", "hat": "x.xox.x.x.xox.xo", "shaker": "x.x.x.x.x.x.x.x."},
    "shuffle": {"kick": "x.......x.......", "snare": "....x.......x...", "hat": "x.xxx.xxx.xxx.xx"},
    "swing": {"ride": "x...x.x.x...x.x.", "hat": "....x.......x...", "snare": "......o.......o.", "kick": "o.......o......."},
    "brushes": {"brush": "x.o.x.o.x.o.x.o.", "hat": "....x.......x..."},
    "bossa": {"rim": "x.....x.....x...", "kick": "x.....x.x.....x.", "shaker": "xoxoxoxoxoxoxoxo"},
    "shaker": {"shaker": "x.o.x.o.x.o.x.o.", "kick": "x.......x......."},
    "toms": {"tom": "x..x..x.x.x.x...", "boom": "x...............", "shaker": "x...x...x...x..."},
    "chip": {"blip": "..x...x...x...x.", "snare": "....x.......x...", "kick": "x...x...x...x..."},
}
RHYTHMS = {
    "none": "................", "root": "x.......x.......", "long": "x...............", "sustain": "x...............",
    "chorale": "x...x...x...x...", "eighths": "x.x.x.x.x.x.x.x.", "sixteenths": "xxxxxxxxxxxxxxxx", "offbeat": "..x...x...x...x.",
    "synco": "x..x......x..x..", "walk": "x...x...x...x...", "strum": "x...x.xo..xox.xo", "power": "x.xxx.xxx.x.x.xx",
    "gallop": "x.xxx.xxx.xxx.xx", "shuffle": "x.x.x.x.x.x.x.x.", "stabs": "x..x..x...x..x..", "riff": "x..x..x.x...x...",
    "comping": "...x......x...x.", "picking": "x.x.x.x.x.x.x.x.", "arpeggio": "xxxxxxxxxxxxxxxx", "alberti": "x.x.x.x.x.x.x.x.",
}
HARMONIES: dict = {  # chords as degrees of the scale, 0 is the tonic
    "pop": [(0, 4, 5, 3), (5, 3, 0, 4), (0, 3, 4, 3), (0, 5, 3, 4)], "riff": [(0, 0, 6, 5), (0, 6, 0, 3), (0, 0, 0, 2)],
    "blues": [(0, 0, 0, 0, 3, 3, 0, 0, 4, 3, 0, 4)], "jazz": [(1, 4, 0, 5), (2, 5, 1, 4), (1, 4, 0, 0)],
    "loop": [(0, 5), (0, 3), (0, 0, 5, 4)], "drone": [(0,), (0, 0, 0, 6)],
    "cadence": [(0, 3, 4, 0), (0, 1, 4, 0), (0, 4, 5, 2, 3, 0, 3, 4)],
}
SCALES = {True: (0, 2, 3, 5, 7, 8, 10), False: (0, 2, 4, 5, 7, 9, 11)}  # minor, major
BROKEN = {"picking": (0, 2, 1, 2), "arpeggio": (0, 1, 2, 3), "alberti": (0, 2, 1, 2)}  # the order of the chord's notes
GLIDING = ("voice", "violin", "flute", "reed", "brass")
