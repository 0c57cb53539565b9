"""The shapes of all kinds, and what actions and patterns do to them, in a small drawing language.

A drawing is a text of strokes, "TONE SHAPE NUMBERS; ...". Shapes are `o` (disc or ellipse: centre, radii), `r`
(rectangle: two corners), `p` (polygon: points), `l` (line: half width, points) and `c` (circle line: centre, radius,
half width, and the corners of a window that shows a part of it). Only sums, products and comparisons are used, so the
same pixels come out on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

Array = np.ndarray

TONES = "xbsdlfwuk"
"""Labels of a sprite from 0: nothing, body, shade, dark and light detail, flame, white, water, black."""
PATTERN, OUTLINE = len(TONES), len(TONES) + 1
"""The two labels that no tone names: what is painted over a patterned body, and the line around all."""
REACH = 1.3
"""A sprite shows the coordinates from -REACH to REACH, x to the right and y down; a shape fills about -1 to 1."""
GRAIN = 156
"""Rows and columns of a sprite."""

SHAPES = {
    "ball": "b o 0 0 .92; D c -1.2 0 1 .05; D c 1.2 0 1 .05; L o -.32 -.55 .16 .1",
    "box": "b r -.88 -.5 .88 .9; s p -.88 -.5 -.62 -.9 .62 -.9 .88 -.5; d l .04 -.88 -.5 .88 -.5; "
    "l r -.14 -.9 .14 .9; d r .3 .45 .7 .7",
    "tree": "d r -.17 .6 .17 1; b p 0 .05 .88 .7 -.88 .7; b p 0 -.4 .7 .25 -.7 .25; b p 0 -1 .5 -.25 -.5 -.25; "
    "S p -.7 .25 .7 .25 0 .42; S p -.5 -.25 .5 -.25 0 -.08",
    "house": "s r .42 -.9 .66 -.3; b r -.74 -.1 .74 .95; s p 0 -1 1 -.02 -1 -.02; d r -.2 .4 .14 .95; "
    "l r -.58 .12 -.32 .4; l r .32 .12 .58 .4",
    "car": "b p -1 .5 -1 .05 -.66 -.04 -.4 -.52 .35 -.52 .64 -.04 1 .08 1 .5; "
    "l p -.5 -.03 -.32 -.4 -.07 -.4 -.07 -.03; l p .05 -.03 .05 -.4 .28 -.4 .46 -.03; d o -.55 .52 .28; "
    "d o .55 .52 .28; l o -.55 .52 .11; l o .55 .52 .11",
    "flower": "d l .06 0 0 0 .98; s o .3 .62 .28 .13; s o -.3 .74 .28 .13; b o 0 -.76 .27; b o .4 -.48 .27; "
    "b o .26 -.02 .27; b o -.26 -.02 .27; b o -.4 -.48 .27; d o 0 -.36 .24; f o 0 -.36 .16",
    "star": "b p 0 -1 .25 -.34 .95 -.31 .4 .13 .59 .81 0 .42 -.59 .81 -.4 .13 -.95 -.31 -.25 -.34",
    "cup": "b c .45 .05 .38 .12 .3 -.6 1 .8; b r -.75 -.6 .45 .8; d o -.15 -.6 .6 .15; S r .2 -.4 .45 .8",
    "boat": "b p -1 .35 1 .35 .65 .9 -.65 .9; b p .08 -.95 .08 .2 .85 .2; s p -.12 -.7 -.12 .2 -.7 .2; "
    "d l .05 -.02 -1 -.02 .4; D l .04 -.9 .55 .9 .55",
    "chair": "b p -.86 -1 -.5 -1 -.38 .1 -.66 .1; b r -.68 .05 .68 .3; s r -.44 -.06 .68 .1; b r -.68 .2 -.44 1; "
    "b r .44 .2 .68 1",
    "table": "b r -1 -.5 1 -.2; b r -.86 -.2 -.6 .85; b r .6 -.2 .86 .85; s r -.6 -.2 .6 .02; d o 0 -.09 .07",
    "hat": "b r -.55 -.8 .55 .45; b o 0 .5 1 .22; d r -.55 .08 .55 .34",
    "bottle": "b r -.42 -.1 .42 1; b o 0 -.1 .42 .35; b r -.16 -.8 .16 -.2; d r -.2 -1 .2 -.78; l r -.42 .2 .42 .62",
    "lamp": "d l .07 0 0 0 .8; d p -.5 .98 -.35 .74 .35 .74 .5 .98; b p -.35 -.95 .35 -.95 .85 .12 -.85 .12; "
    "d l .03 .5 .1 .5 .5; d o .5 .52 .08; S p .2 -.95 .35 -.95 .85 .12 .5 .12",
    "book": "b r -.72 -.9 .72 .92; s r -.72 -.9 -.46 .92; l r -.62 .7 .72 .84; d l .03 -.6 .77 .72 .77; "
    "l r -.28 -.65 .52 -.1; d l .05 -.12 -.48 .36 -.48; d l .05 -.12 -.28 .36 -.28",
    "umbrella": "b o 0 .02 1 .95; x r -1.1 .02 1.1 1; x o -.66 .04 .33 .2; x o 0 .04 .33 .2; x o .66 .04 .33 .2; "
    "d l .05 0 -1 0 -.9; D l .035 0 -.95 -.33 .02; D l .035 0 -.95 .33 .02; d l .06 0 -.15 0 .76; "
    "d c .17 .76 .17 .06 -.1 .76 .5 1.1",
    "heart": "b o -.46 -.38 .5; b o .46 -.38 .5; b p -.9 -.13 -.3 -.5 0 -.2 .3 -.5 .9 -.13 0 .95; b r -.3 -.3 .3 .1; "
    "L o -.5 -.5 .16 .12",
    "clock": "d l .09 -.65 .95 -.45 .6; d l .09 .65 .95 .45 .6; b o -.55 -.72 .3; b o .55 -.72 .3; b o 0 .1 .8; "
    "l o 0 .1 .54; d l .06 0 .1 0 -.26; d l .06 0 .1 .26 .2; d r -.08 -.98 .08 -.7",
    "balloon": "b o 0 -.3 .68 .7; b p 0 .35 .16 .55 -.16 .55; d l .045 0 .55 .12 .68 -.1 .84 .04 1; "
    "L o -.28 -.55 .12 .18",
    "apple": "b o -.33 .15 .57 .72; b o .33 .15 .57 .72; d l .07 0 -.4 .08 -.95; s o .4 -.74 .32 .16; "
    "L o -.48 -.1 .12 .2",
    "moon": "b o -.1 0 .95; x o .42 -.12 .8",
    "mushroom": "b o 0 .12 .98 1.02; x r -1.1 .12 1.1 1.3; l p -.24 .1 .24 .1 .34 .95 -.34 .95; s o 0 .12 .98 .13",
    "bell": "b c 0 -.86 .13 .06; b o 0 -.4 .4 .4; b p -.4 -.4 .4 -.4 .52 .3 .88 .66 -.88 .66 -.52 .3; d o 0 .78 .2; "
    "D l .05 -.7 .42 .7 .42",
    "key": "b c -.56 0 .32 .14; b r -.3 -.12 1 .12; b r .42 0 .6 .5; b r .8 0 .98 .42",
    "kite": "b p 0 -1 .68 -.35 0 .5 -.68 -.35; S p 0 -1 .68 -.35 0 -.35; S p 0 .5 -.68 -.35 0 -.35; "
    "d l .045 0 .5 .18 .66 -.08 .82 .1 1; d p -.12 .5 -.12 .74 .3 .5 .34 .78; d l .03 0 -1 0 .5; "
    "d l .03 -.68 -.35 .68 -.35",
    "candle": "d o 0 .82 .72 .17; d c .74 .64 .16 .06; b r -.28 -.32 .28 .8; S r .1 -.32 .28 .8; "
    "d l .04 0 -.5 0 -.3; f o 0 -.7 .18 .24; f p -.13 -.8 .13 -.8 0 -1.05",
    "drum": "b r -.82 -.3 .82 .6; b o 0 .6 .82 .28; l o 0 -.3 .82 .26; d l .045 -.8 0 -.4 .7 0 .05 .4 .7 .8 0; "
    "d l .06 -.8 -1 -.15 -.35; d l .06 .8 -1 .15 -.35; d o -.15 -.35 .1; d o .15 -.35 .1",
    "tent": "d l .04 0 -.85 -.14 -1; d l .04 0 -.85 .14 -1; b p 0 -.85 1 .85 -1 .85; d p 0 -.25 .34 .85 -.34 .85; "
    "S p .5 0 1 .85 .6 .85 .2 -.5",
    "flag": "d l .07 -.76 -.95 -.76 1; b p -.68 -.9 -.2 -.98 .3 -.8 .98 -.9 .98 .05 .3 .17 -.2 -.02 -.68 .08; "
    "d o -.76 -.98 .12",
    "crown": "b p -.85 .7 -.95 -.45 -.45 .05 0 -.7 .45 .05 .95 -.45 .85 .7; b o -.93 -.5 .14; b o 0 -.74 .14; "
    "b o .93 -.5 .14; d r -.85 .42 .85 .54; l o 0 .12 .12; l o -.5 .2 .1; l o .5 .2 .1",
    "ladder": "b l .1 -.5 -.95 -.5 .95; b l .1 .5 -.95 .5 .95; b l .08 -.5 -.66 .5 -.66; b l .08 -.5 -.22 .5 -.22; "
    "b l .08 -.5 .22 .5 .22; b l .08 -.5 .66 .5 .66",
    "shoe": "b p -.88 -.6 -.28 -.6 -.1 -.15 .55 .08 .92 .25 1 .55 -.9 .55; d r -.94 .52 1.02 .74; "
    "S o .85 .5 .34 .36; l l .05 -.15 -.3 -.02 -.42; l l .05 .05 -.14 .15 -.28; l l .05 .28 -.04 .38 -.18; "
    "d o -.58 -.6 .3 .1",
    "train": "b r -.9 -.7 -.28 .45; b r -.3 -.22 .82 .45; s r -1 -.86 -.2 -.66; l r -.76 -.48 -.44 -.12; "
    "d r .42 -.72 .66 -.2; d r .34 -.8 .74 -.66; d o -.58 .6 .28; d o .08 .66 .22; d o .6 .66 .22; "
    "d p .82 .25 1.05 .75 .82 .75; l o -.58 .6 .1",
    "plane": "b p .3 -.1 -.3 -.98 -.56 -.98 -.2 -.1; b p .3 .1 -.3 .98 -.56 .98 -.2 .1; "
    "s p -.6 -.05 -.95 -.45 -1.08 -.45 -.92 0; s p -.6 .05 -.95 .45 -1.08 .45 -.92 0; b o -.02 0 1.02 .19; "
    "l o .74 0 .13 .1; d o .3 0 .06; d o .05 0 .06; d o -.2 0 .06",
    "rocket": "f p -.24 .5 .24 .5 0 1.05; s p .25 -.05 .74 .75 .25 .5; s p -.25 -.05 -.74 .75 -.25 .5; "
    "b p 0 -1 .2 -.75 .32 -.4 .32 .55 -.32 .55 -.32 -.4 -.2 -.75; d o 0 -.25 .2; l o 0 -.25 .13; D r -.4 .36 .4 .44",
    "cake": "d l .07 -1 .84 1 .84; b r -.84 -.08 .84 .8; l r -.84 -.16 .84 .1; l o -.6 .1 .2 .2; l o -.1 .1 .2 .12; "
    "l o .42 .1 .24 .24; d l .06 -.5 -.5 -.5 -.2; d l .06 0 -.5 0 -.2; d l .06 .5 -.5 .5 -.2; f o -.5 -.7 .11 .2; "
    "f o 0 -.7 .11 .2; f o .5 -.7 .11 .2",
    "pear": "b o 0 .42 .66 .56; b o 0 -.2 .36 .5; b p -.36 -.2 .36 -.2 .6 .3 -.6 .3; d l .07 0 -.65 .1 -1; "
    "s o .38 -.78 .28 .13; L o -.3 .35 .12 .2",
    "cactus": "b l .24 0 -.72 0 .6; b l .14 -.68 -.32 -.68 .12 0 .26; b l .14 .68 -.52 .68 -.04 0 .12; "
    "S l .04 -.08 -.85 -.08 .6; S l .04 .1 -.8 .1 .6; d p -.48 .55 .48 .55 .34 1 -.34 1",
    "leaf": "d l .06 -.5 .5 -.95 .95; b p .92 -.92 .9 -.15 .55 .5 -.05 .72 -.58 .58 -.72 .05 -.5 -.55 .15 -.9; "
    "D l .045 .8 -.8 -.6 .6; D l .035 .3 -.3 .35 -.75; D l .035 .3 -.3 .75 -.35; D l .035 -.1 .1 -.05 -.5; "
    "D l .035 -.1 .1 .5 .05",
    "guitar": "b o 0 .55 .55 .44; b o 0 .02 .4 .34; d r -.09 -.8 .09 .1; b r -.17 -1.02 .17 -.7; d o 0 .22 .18; "
    "d r -.25 .66 .25 .76; l l .025 0 -.7 0 .7",
    "windmill": "b p -.26 -.4 .26 -.4 .46 1 -.46 1; s o 0 -.4 .26 .24; d r -.13 .62 .13 1; "
    "l l .11 -.72 -1.02 .72 .32; l l .11 .72 -1.02 -.72 .32; d l .03 -.75 -1.05 .75 .35; d l .03 .75 -1.05 -.75 .35; "
    "d o 0 -.35 .12",
    "ring": "b c 0 .3 .55 .14; l p -.34 -.95 .34 -.95 .54 -.62 0 -.1 -.54 -.62; d l .03 -.54 -.62 .54 -.62; "
    "d l .03 -.2 -.62 0 -.1; d l .03 .2 -.62 0 -.1",
    "anchor": "b c 0 -.78 .17 .08; b l .1 0 -.6 0 .85; b l .1 -.42 -.34 .42 -.34; b c 0 .1 .76 .11 -1 .3 1 1; "
    "b p -1.02 .5 -.84 -.02 -.5 .42; b p 1.02 .5 .84 -.02 .5 .42",
    "spoon": "b l .34 .42 -.48 .54 -.6; b l .1 .3 -.3 -.8 .88; b o -.78 .86 .14; S l .2 .42 -.48 .54 -.6",
    "dog": "b l .1 -.62 .1 -.9 -.42; s r -.42 .3 -.26 .85; s r .12 .3 .28 .85; b o -.12 .2 .62 .32; "
    "b r -.66 .2 -.46 .92; b r .28 .2 .48 .92; b o .48 -.32 .4 .36; b o .8 -.2 .24 .17; d o .97 -.26 .1; "
    "s o .24 -.2 .17 .42; d o .6 -.42 .08",
    "cat": "b l .1 .4 .86 .85 .72 .88 .2; b o 0 .55 .48 .45; b o 0 -.26 .54 .44; b p -.54 -.25 -.5 -1 -.06 -.6; "
    "b p .54 -.25 .5 -1 .06 -.6; s p -.42 -.5 -.42 -.82 -.2 -.6; s p .42 -.5 .42 -.82 .2 -.6; d o -.22 -.34 .08 .11; "
    "d o .22 -.34 .08 .11; d p -.09 -.16 .09 -.16 0 -.05; d l .025 -.25 -.12 -.8 -.2; d l .025 -.25 -.05 -.78 .02; "
    "d l .025 .25 -.12 .8 -.2; d l .025 .25 -.05 .78 .02; S o 0 .68 .2 .3",
    "bird": "d l .045 -.1 .4 -.1 .92; d l .045 .18 .4 .18 .92; d l .04 -.1 .92 .1 .92; d l .04 .18 .92 .38 .92; "
    "b p -.3 -.15 -1.02 -.1 -.98 .2 -.3 .35; b o 0 .08 .56 .44; b o .42 -.38 .36; f p .72 -.52 1.06 -.36 .72 -.24; "
    "s o -.14 .05 .36 .24; d o .52 -.46 .08",
    "fish": "s p -.25 -.3 .1 -.85 .4 -.35; s p -.1 .3 .05 .75 .3 .35; b p -.4 0 -1.02 -.55 -.88 0 -1.02 .55; "
    "b o .15 0 .8 .5; l o .55 -.12 .15; d o .58 -.12 .08; D c -.2 0 .5 .04 0 -1 1 1",
    "horse": "d l .1 -.66 .05 -.88 .2 -.9 .65; s r -.4 .2 -.25 .95; s r .1 .2 .25 .95; b o -.14 .12 .58 .3; "
    "b r -.66 .1 -.48 1; b r .24 .1 .42 1; b p .05 .15 .32 -.7 .68 -.62 .44 .25; "
    "b p .34 -.72 .58 -.92 1.02 -.48 .92 -.3 .55 -.42; d p .3 -.9 .5 -.86 .26 -.2 .08 .05 0 -.1 .16 -.5; "
    "b p .5 -.8 .55 -1.08 .66 -.82; d o .66 -.66 .06; d r -.66 .9 -.48 1; d r .24 .9 .42 1",
    "duck": "b p -.5 .1 -1.05 -.2 -.85 .5; b o -.12 .42 .8 .44; b l .2 .38 -.4 .38 .3; b o .42 -.52 .36; "
    "f o .86 -.42 .28 .13; d l .02 .7 -.42 1.1 -.42; s o -.2 .4 .42 .22; d o .5 -.6 .08; x r -1.1 .8 1.1 1",
    "rabbit": "b o -.24 -.64 .17 .42; b o .24 -.64 .17 .42; s o -.24 -.62 .08 .3; s o .24 -.62 .08 .3; "
    "b o 0 .58 .5 .42; b o 0 -.04 .46 .38; d o -.18 -.1 .08 .1; d o .18 -.1 .08 .1; d p -.08 .06 .08 .06 0 .14; "
    "l r -.08 .15 .08 .28; l o 0 .66 .24 .24; b o -.32 .95 .22 .1; b o .32 .95 .22 .1",
    "mouse": "s l .06 -.5 .5 -.85 .6 -1.06 .35 -.9 .05 -1.05 -.25; b o -.12 .34 .56 .42; b p .1 -.1 1 .42 .3 .74; "
    "s o .58 -.3 .26; b o .36 .16 .38 .34; d o .12 -.28 .37; b o .12 -.28 .32; s o .12 -.28 .2; d o .98 .4 .1; "
    "d o .6 .16 .08; d o -.3 .76 .2 .08; d o .3 .74 .2 .08",
    "turtle": "s p -.7 .35 -1 .5 -.6 .5; s o .86 .08 .24 .22; s r .5 .15 .8 .4; s o -.45 .55 .2 .24; "
    "s o .42 .55 .2 .24; b o 0 .38 .78 .9; x r -.85 .4 .65 1.3; s o -.45 .6 .2 .2; s o .42 .6 .2 .2; "
    "d l .05 -.78 .4 .74 .4; D l .04 -.3 .4 -.36 0 0 -.22 .36 0 .3 .4; D l .04 0 -.22 0 -.6; D l .04 -.36 0 -.7 -.1; "
    "D l .04 .36 0 .7 -.1; d o .94 .02 .07",
    "butterfly": "b o -.5 -.4 .48 .44; b o .5 -.4 .48 .44; s o -.4 .42 .38 .4; s o .4 .42 .38 .4; L o -.55 -.42 .18; "
    "L o .55 -.42 .18; d l .04 0 -.5 -.25 -1; d l .04 0 -.5 .25 -1; d o 0 .05 .12 .62; d o 0 -.55 .15",
    "robot": "d l .05 0 -.7 0 -.95; f o 0 -.98 .12; b r -.52 -.76 .52 -.14; l o -.22 -.5 .16; l o .22 -.5 .16; "
    "d o -.22 -.5 .08; d o .22 -.5 .08; d r -.26 -.28 .26 -.2; s r -.12 -.14 .12 0; b r -.46 -.04 .46 .58; "
    "l r -.24 .1 .24 .38; d l .04 -.14 .24 .14 .24; s r -.8 0 -.54 .5; s r .54 0 .8 .5; s r -.36 .58 -.1 1; "
    "s r .1 .58 .36 1",
    "snowman": "d l .045 .3 -.05 .9 -.4; d l .045 -.3 -.05 -.9 -.4; b o 0 .58 .54 .44; b o 0 0 .4 .34; "
    "b o 0 -.46 .3 .28; d r -.26 -1.05 .26 -.68; d r -.44 -.74 .44 -.64; d o -.11 -.52 .05; d o .11 -.52 .05; "
    "f p 0 -.46 .4 -.4 0 -.34; d o 0 -.06 .06; d o 0 .12 .06; d o 0 .5 .06",
    "snake": "b l .15 -.98 .8 -.7 .5 -.35 .8 .05 .86 .5 .74 .52 .38 .1 .2 -.3 .02 -.34 -.38 .05 -.62 .4 -.6; "
    "b o .5 -.62 .32 .23; d o .55 -.7 .07; d l .035 .8 -.58 1.02 -.58; d l .03 1 -.58 1.12 -.68; "
    "d l .03 1 -.58 1.12 -.48; S l .04 -.35 .85 .05 .9 .5 .8",
    "elephant": "d l .05 -.66 0 -.86 .4; s r -.3 .3 -.1 .9; s r .0 .3 .2 .9; b o -.14 .05 .62 .5; "
    "b r -.64 .3 -.34 .96; b r .1 .3 .4 .96; b o .5 -.25 .4 .38; b l .13 .78 -.15 .92 .2 .86 .55 1 .72; "
    "l p .55 .02 .85 .3 .62 .18; s o .2 -.22 .28 .4; d o .64 -.34 .07",
    "snail": "s l .15 -.9 .82 .75 .82; s l .15 .72 .8 .84 .2; d l .04 .84 .1 .68 -.3; d l .04 .9 .1 1.02 -.3; "
    "d o .68 -.32 .08; d o 1.02 -.32 .08; b o -.12 .12 .68; d o .9 .16 .05; "
    "D l .05 -.12 .12 .06 .06 .1 .3 -.14 .42 -.4 .28 -.44 -.02 -.2 -.24 .14 -.2 .36 .06 .34 .42 .08 .66",
    "ghost": "b o 0 -.25 .7 .72; b r -.7 -.25 .7 .7; b p -.7 .6 -.3 .6 -.58 1; b p -.24 .6 .24 .6 0 1; "
    "b p .7 .6 .3 .6 .58 1; d o -.26 -.32 .13 .19; d o .26 -.32 .13 .19; d o 0 .1 .13 .15",
}  # fmt: skip

_TURNS = {
    None: (1.0, 0.0, 0.0, 1, 0, 0.0), "sleeping": (0.84, 0.0, 0.22, 0, 1, 0.0), "jumping": (0.78, 0.0, -0.25, 1, 0,
        0.0),
    "running": (0.8, 0.2, 0.05, 1, 0, 0.42), "flying": (0.76, 0.0, 0.1, 1, 0, 0.0), "swimming": (0.9, 0.0, -0.1, 1,
        0, 0.0),
    "singing": (0.84, -0.15, 0.18, 1, 0, 0.0), "crying": (0.84, 0.0, 0.1, 1, 0, 0.0), "falling": (0.82, 0.0, 0.26,
        -1, 0, 0.0),
}  # fmt: skip
"""How an action moves the agent: scale, place, cosine and sine of its turn, and how far it leans."""
_WINGS = (
    "k p .1 .3 .5 -.85 1.12 -1.06 1.18 -.4 1 .12 .7 .38; w p .25 .2 .56 -.76 1.03 -.94 1.08 -.4 .92 .04 .66 .26;"
    "k l .03 .66 -.3 1.1 -.42; k l .03 .6 0 1 .05"
)
_BEHIND = {"flying": _WINGS, "jumping": "k o 0 1.02 .55 .13"}
"""The marks of an action behind the agent, drawn at both sides."""


def _edged(lines: str) -> str:
    """White lines with a black edge, from "WIDTH POINTS | WIDTH POINTS"."""
    parts = [part.split(maxsplit=1) for part in lines.split("|")]
    edges = [f"k l {float(width) + 0.04} {points}" for width, points in parts]
    return ";".join(edges + [f"w l {width} {points}" for width, points in parts])


def _drop(x: float, y: float) -> str:
    """A tear."""
    return (
        f"k o {x} {y} .2; k p {x - 0.18} {y - 0.08} {x + 0.18} {y - 0.08} {x} {y - 0.5};"
        f"u o {x} {y} .14; u p {x - 0.12} {y - 0.07} {x + 0.12} {y - 0.07} {x} {y - 0.36}"
    )


def _note(x: float, y: float, size: float) -> str:
    """A black note with a white edge; x and y are the middle of its head."""
    stem = f"{x + 0.14 * size} {y} {x + 0.14 * size} {y - 0.62 * size} {x + 0.5 * size} {y - 0.42 * size}"
    return (
        f"w l .15 {stem}; w o {x} {y} {0.18 * size + 0.09} {0.14 * size + 0.09}; k l .06 {stem};"
        f"k o {x} {y} {0.18 * size} {0.14 * size}"
    )


_BEFORE = {
    "sleeping": _edged("0.085 .48 -1.04 .96 -1.04 .48 -.52 .96 -.52 | 0.07 -.12 -.98 .2 -.98 -.12 -.6 .2 -.6"),
    "jumping": _edged("0.08 -.78 .36 -.94 .56 -.92 .8 | 0.08 .78 .36 .94 .56 .92 .8"),
    "running": _edged("0.1 -1.12 -.5 -.56 -.5 | 0.1 -1.16 0 -.72 0 | 0.1 -1.12 .5 -.8 .5"),
    "swimming": "u p -1.15 .45 -.9 .3 -.65 .45 -.4 .55 -.15 .45 .1 .3 .35 .45 .6 .55 .85 .45 1.1 .32 1.15 .9 .9 1 .6 "
    ".9"
    " .2 1 -.2 .9 -.6 1 -1 .92 -1.15 .85; w l .055 -1.1 .48 -.9 .36 -.65 .5 -.4 .61 -.15 .51 .1 .36 .35 .5 .6 .61 "
    ".85 .51"
    " 1.08 .4; w l .045 -.95 .78 -.75 .7 -.5 .8 -.25 .74; w l .045 .15 .78 .35 .7 .6 .8 .85 .74",
    "singing": _note(0.6, -0.42, 1) + ";" + _note(-0.92, -0.6, 0.8),
    "crying": ";".join(_drop(x, y) for x, y in ((-0.86, -0.05), (0.86, -0.05), (-1.0, 0.68), (1.0, 0.68))),
    "falling": _edged("0.1 -.56 -1.1 -.56 -.62 | 0.1 0 -1.1 0 -.76 | 0.1 .56 -1.1 .56 -.62"),
}
"""The marks of an action in front of the agent, in coordinates that do not turn with it."""


def _polygon(x: Array, y: Array, points: list[tuple[float, float]]) -> Array:
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if y0 != y1:
            inside ^= ((y0 <= y) != (y1 <= y)) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return inside


def _line(x: Array, y: Array, width: float, points: list[tuple[float, float]]) -> Array:
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        dx, dy = x1 - x0, y1 - y0
        along = np.clip(((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        inside |= (x - x0 - along * dx) ** 2 + (y - y0 - along * dy) ** 2 <= width * width
    return inside


def mask(x: Array, y: Array, shape: str, numbers: list[float]) -> Array:
    """Where a shape of the drawing language is."""
    if shape == "o":
        cx, cy, rx, *ry = numbers
        return ((x - cx) / rx) ** 2 + ((y - cy) / (ry or [rx])[0]) ** 2 <= 1
    if shape == "r":
        x0, y0, x1, y1 = numbers
        return (x >= min(x0, x1)) & (x <= max(x0, x1)) & (y >= y0) & (y <= y1)
    if shape == "c":
        cx, cy, radius, width, *window = numbers
        distance = (x - cx) ** 2 + (y - cy) ** 2
        ring = (distance >= (radius - width) ** 2) & (distance <= (radius + width) ** 2)
        return ring & mask(x, y, "r", window) if window else ring
    first = len(numbers) % 2
    points = list(zip(numbers[first::2], numbers[first + 1 :: 2], strict=True))
    return _line(x, y, numbers[0], points) if shape == "l" else _polygon(x, y, points)


def strokes(drawing: str) -> Iterator[tuple[str, str, list[float]]]:
    """Tone, shape and numbers of each stroke of a drawing."""
    for stroke in drawing.split(";"):
        if stroke.strip():
            tone, shape, *numbers = stroke.split()
            yield tone, shape, [float(number) for number in numbers]


def _paint(labels: Array, drawing: str, mirrored: bool = False) -> None:
    """Label the strokes of a drawing; a capital tone paints only what is painted already."""
    axis = (np.arange(GRAIN) + 0.5) * (2 * REACH / GRAIN) - REACH
    x, y = -axis if mirrored else axis, axis[:, None]
    for tone, shape, numbers in strokes(drawing):
        where = mask(x, y, shape, numbers)
        labels[where & (labels > 0) if tone.isupper() else where] = TONES.index(tone.lower())


def _pattern(pattern: str) -> Array:
    """Where a pattern lies over the coordinates of a sprite."""
    axis = (np.arange(GRAIN) + 0.5) * (2 * REACH / GRAIN)
    x, y = axis, axis[:, None]
    if pattern == "striped":
        return np.broadcast_to(y % 0.52 < 0.24, (GRAIN, GRAIN))
    checks: Array = (x % 0.72 < 0.36) != (y % 0.72 < 0.36)
    row = np.floor(y / 0.44)
    dots: Array = ((x + 0.25 * (row % 2)) % 0.5 - 0.25) ** 2 + (y % 0.44 - 0.22) ** 2 <= 0.15**2
    return checks if pattern == "checked" else dots


@lru_cache(maxsize=256)
def _still(kind: str, pattern: str | None) -> Array:
    """Labels of a kind that does nothing."""
    labels = np.zeros((GRAIN, GRAIN), np.uint8)
    _paint(labels, SHAPES[kind])
    if pattern:
        labels[(labels == TONES.index("b")) & _pattern(pattern)] = PATTERN
    return labels


@lru_cache(maxsize=1024)
def sprite(kind: str, pattern: str | None, action: str | None) -> Array:
    """Labels [GRAIN, GRAIN] of a kind with its pattern and action."""
    still = _still(kind, pattern)
    if action is None:
        return still
    scale, cx, cy, cosine, sine, lean = _TURNS[action]
    axis = (np.arange(GRAIN) + 0.5) * (2 * REACH / GRAIN) - REACH
    x, y = (axis - cx) / scale, (axis[:, None] - cy) / scale
    x = x + lean * y
    x, y = cosine * x + sine * y, cosine * y - sine * x
    column, row = (np.floor((c + REACH) * (GRAIN / (2 * REACH))).astype(int) for c in (x, y))
    inside = (column >= 0) & (column < GRAIN) & (row >= 0) & (row < GRAIN)
    agent = np.where(inside, still[np.clip(row, 0, GRAIN - 1), np.clip(column, 0, GRAIN - 1)], 0)
    labels = np.zeros((GRAIN, GRAIN), np.uint8)
    _paint(labels, _BEHIND.get(action, ""))
    _paint(labels, _BEHIND.get(action, ""), mirrored=True)
    labels = np.where(agent > 0, agent, labels).astype(np.uint8)
    _paint(labels, _BEFORE.get(action, ""))
    return labels
