"""Formats that are known by their first bytes and not read, so that a reject can name them."""

import re

_NOT_READ = (
    (re.compile(rb"....ftyp(?:avif|avis)", re.DOTALL), "AVIF"),
    (re.compile(rb"....ftyp(?:heic|heix|mif1|msf1|hevc)", re.DOTALL), "HEIF"),
    (re.compile(rb"....ftyp", re.DOTALL), "MPEG-4 (.m4a, .mp4)"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL"),
    (re.compile(rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"), "JPEG 2000"),
    (re.compile(rb"8BPS"), "Photoshop"),
    (re.compile(rb"%!PS|\xc5\xd0\xd3\xc6"), "PostScript"),
    (re.compile(rb"%PDF"), "PDF"),
    (re.compile(rb"\0\0[\1\2]\0"), "an icon (.ico, .cur)"),
    (re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)?<svg", re.DOTALL), "SVG"),
    (re.compile(rb"\xff[\xf1\xf9]"), "AAC"),
    (re.compile(rb"\x30\x26\xb2\x75"), "Windows Media"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "Matroska (.mka, .webm)"),
    (re.compile(rb"#!AMR"), "AMR"),
    (re.compile(rb"MAC "), "Monkey's Audio"),
    (re.compile(rb"wvpk"), "WavPack"),
    (re.compile(rb"\x1f\x8b|PK\x03\x04|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!"), "a compressed archive"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer (run `git lfs pull`)"),
    (re.compile(rb"\s*<(?:!doctype html|html)", re.IGNORECASE), "a web page"),
    (re.compile(rb"\s*\{\s*\""), "JSON, such as the error message of a download"),
)


def named_format(payload: bytes) -> str:
    """What `payload` seems to be, for a message: ``, it seems to be HEIF``; empty where its first bytes say nothing."""
    head = payload[:512]
    return next((f", it seems to be {name}" for pattern, name in _NOT_READ if pattern.match(head)), "")
