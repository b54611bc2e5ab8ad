"""Pictures come out the way a person would see them; each decision has a picture that a wrong one would spoil."""

from __future__ import annotations

import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from reelmill.annotators.decode.picture import ground_for, load_picture, picture_facts, read_picture
from reelmill.schemas.errors import Unusable

CORNERS = np.array(
    [[[200, 0, 0], [0, 200, 0], [0, 0, 200]], [[20, 20, 20], [240, 240, 240], [128, 128, 128]]], np.uint8
)


def save(folder, image, name="picture.png", **how):
    path = folder / name
    image.save(path, **how)
    return str(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = Image.fromarray(CORNERS.repeat(16, 0).repeat(16, 1))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # how a camera stores it: the inverse of what shows it
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[274] = orientation
    path = save(tmp_path, stored, "o.png", exif=exif)
    facts, rgb = read_picture(path)
    assert np.array_equal(rgb, np.asarray(upright))
    assert facts.shown == (48, 32)


def text_on_transparent(colour):
    image = Image.new("RGBA", (160, 60), (0, 0, 0, 0))
    ImageDraw.Draw(image).text((10, 10), "READABLE", fill=(*colour, 255), font_size=24)
    return image


@pytest.mark.parametrize("colour", [(255, 255, 255), (0, 0, 0), (230, 30, 30), (255, 250, 200), (40, 40, 90)])
def test_text_on_transparent_stays_readable(tmp_path, colour):
    rgb = load_picture(save(tmp_path, text_on_transparent(colour))).astype(int)
    assert np.abs(rgb - rgb[0, 0]).sum(axis=2).max() > 200
    assert tuple(rgb[0, 0]) in ((255, 255, 255), (0, 0, 0))


def test_white_is_the_ground_where_nothing_speaks_against_it(tmp_path):
    assert ground_for(np.asarray(text_on_transparent((200, 40, 40)))) == (255, 255, 255)
    empty = load_picture(save(tmp_path, Image.new("RGBA", (4, 4), (0, 0, 0, 0))))
    assert (empty == 255).all()


def test_half_transparent_pixels_are_mixed(tmp_path):
    image = Image.new("RGBA", (2, 1), (100, 0, 0, 255))
    image.putpixel((1, 0), (100, 0, 0, 128))
    assert load_picture(save(tmp_path, image))[0].tolist() == [[100, 0, 0], [177, 127, 127]]


def test_cmyk_is_not_shown_as_its_negative(tmp_path):
    cyan, black = (255, 0, 0, 0), (0, 0, 0, 255)
    image = Image.new("CMYK", (32, 16), cyan)
    image.paste(black, (16, 0, 32, 16))
    rgb = load_picture(save(tmp_path, image, "c.jpg", quality=95)).astype(int)
    assert np.abs(rgb[8, 4] - (0, 255, 255)).max() < 12
    assert rgb[8, 28].max() < 12


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    for name in ("r.png", "r.tif", "r.pgm"):
        image = Image.fromarray(ramp) if name != "r.pgm" else Image.fromarray(ramp.astype(np.int32))
        rgb = load_picture(save(tmp_path, image, name))
        assert np.abs(rgb[0, :, 0].astype(int) - np.arange(256)).max() <= 1
        assert (rgb[:, :, 0] == rgb[:, :, 2]).all()


def test_a_dim_sixteen_bit_picture_stays_dim(tmp_path):
    path = save(tmp_path, Image.fromarray(np.full((4, 4), 6553, np.uint16)))
    assert load_picture(path)[0, 0].tolist() == [25, 25, 25]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=9))
def test_floating_greys_keep_their_order(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("f")
    row = np.array([values], np.float32)
    grey = load_picture(save(folder, Image.fromarray(row), "f.tif"))[0, :, 0].astype(int)
    order = np.argsort(row[0], kind="stable")
    assert (np.diff(grey[order]) >= 0).all()


def test_palettes_grey_and_bilevel(tmp_path):
    colour = Image.fromarray(CORNERS)
    assert np.array_equal(load_picture(save(tmp_path, colour.convert("P", palette=Image.Palette.ADAPTIVE))), CORNERS)
    assert load_picture(save(tmp_path, Image.new("L", (3, 2), 77), "l.png"))[0, 0].tolist() == [77] * 3
    assert load_picture(save(tmp_path, Image.new("1", (3, 2), 1), "b.png"))[0, 0].tolist() == [255] * 3


def test_a_transparent_palette_colour_becomes_the_ground(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((1, 0), 1)
    path = save(tmp_path, image, "p.png", transparency=0)
    assert load_picture(path)[0].tolist() == [[255, 255, 255], [200, 0, 0]]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.tif", "a.png"])
def test_the_first_of_many_frames_is_taken_and_noted(tmp_path, name):
    frames = [Image.new("RGB", (8, 8), c) for c in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    how = {"lossless": True} if name.endswith("webp") else {}
    path = save(tmp_path, frames[0], name, save_all=True, append_images=frames[1:], **how)
    facts, rgb = read_picture(path)
    assert rgb[0, 0].tolist() == [250, 0, 0]
    assert (facts.num_frames, facts.note) == (3, "first of 3 frames")


def jpeg(quality=90):
    out = io.BytesIO()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def png_header(width, height):
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\x00" * 10)) + chunk(b"IEND", b"")
    )


REFUSED = {
    "empty.png": (b"", "empty_file"),
    "half.jpg": (jpeg()[:1500], "truncated_picture"),
    "text.png": (b"no picture at all", "not_media"),
    "bomb.png": (png_header(30_000, 30_000), "too_many_pixels"),
    "just_over.png": (png_header(8001, 8000), "too_many_pixels"),
    "short.png": (png_header(100, 100), "truncated_picture"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_media"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_true_fault(tmp_path, name):
    data, reason = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(Unusable) as refused:
        load_picture(str(path))
    assert refused.value.reason == reason, refused.value


def test_the_limit_is_held_before_anything_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(7000, 7000))
    with pytest.raises(Unusable, match="too_many_pixels"):
        picture_facts(str(path), max_px=48_999_999)
    assert picture_facts(str(path), max_px=49_000_000).shown == (7000, 7000)


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(Unusable, match="unreadable"):
        load_picture(str(tmp_path / "no.png"))


def test_what_follows_a_picture_does_not_matter(tmp_path):
    path = tmp_path / "polyglot.jpg"
    path.write_bytes(jpeg() + b"PK\x03\x04 and an archive")
    assert load_picture(str(path)).shape == (64, 64, 3)


def test_damaged_exif_does_not_spoil_a_picture(tmp_path):
    data = jpeg()
    exif = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff" + b"\xff" * 20
    path = tmp_path / "exif.jpg"
    path.write_bytes(data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:])
    assert load_picture(str(path)).shape == (64, 64, 3)


def test_real_pictures(shared_media):
    hard = shared_media / "hard"
    assert load_picture(str(hard / "exif_landscape_8.jpg")).shape == (1200, 1800, 3)
    assert load_picture(str(hard / "gray16.png")).max() == 255
    assert load_picture(str(hard / "rapid_white_on_transparent.png"))[0, 0].tolist() == [0, 0, 0]
    for name in ("pil_bomb.gif", "bomb_30000x30000.png"):
        with pytest.raises(Unusable, match="too_many_pixels"):
            load_picture(str(hard / name))
    for name in ("pil_truncated.jpg", "pil_truncated.png"):
        with pytest.raises(Unusable, match="truncated_picture"):
            load_picture(str(hard / name))
