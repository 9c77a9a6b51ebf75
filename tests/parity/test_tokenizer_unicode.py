"""Every character falls into the class that the oracles put it in.

Unicode versions differ between engines: Python's `regex` knows 17,000 letters more than tiktoken
0.14 and Hugging Face tokenizers 0.23 do. tiktoken decides what is right here; Hugging Face's
tables are the ones that can be asked for each code point, and `DIFFERENT` lists where they differ.
"""

from tokenizers import pre_tokenizers

from minillm.tokenizer import pretokenize

# Code points that Hugging Face's Unicode tables class otherwise than tiktoken's: none today.
DIFFERENT: list[int] = []

# Planes 4 to 13 hold nothing yet, 15 and 16 are for private use: no version knows letters there.
PLANES = [*range(0x40000), *range(0xE0000, 0xE0200), 0x10FFFF]
LINE = "a{0}1 {0}\n"  # a letter joins the a, a number the 1, and a space nothing


def test_classes_of_all_code_points_equal_hugging_faces():
    oracle = pre_tokenizers.ByteLevel(add_prefix_space=False)
    points = [point for point in PLANES if not 0xD800 <= point < 0xE000]
    different = []
    for start in range(0, len(points), 4096):
        group = points[start : start + 4096]
        if splits_of(oracle, group) != ends(pretokenize("".join(map(line, group)))):
            different += [point for point in group if not equal(oracle, point)]
    assert different == DIFFERENT


def line(point):
    return LINE.format(chr(point))


def equal(oracle, point):
    return splits_of(oracle, [point]) == ends(pretokenize(line(point)))


def splits_of(oracle, points):
    text = "".join(map(line, points))
    return [end for _, (_, end) in oracle.pre_tokenize_str(text)]


def ends(parts):
    total, result = 0, []
    for part in parts:
        total += len(part)
        result.append(total)
    return result
