"""Texts that try to do something where they are shown: in a terminal, a page, a model card."""

ESCAPES = [
    "\x1b[31mred", "\x1b[2J\x1b[H", "\x1b]0;title\x07", "\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]52;c;cm0gLXJm\x07", "\x1bPq#0;2\x1b\\", "\x1b[6n", "\x1bc", "\x9b31mred", "\x9d0;title\x9c",
    "a\rerror: none", "a\x08\x08b", "\x07bell", "a\x00b", "a\x0bb\x0cc", "\x7f\x7f",
]  # fmt: skip
LINES = [
    "a\nerror: another", "a\r\nhint: run `rm -rf ~`", "a\u2028error: b", "a\u2029b", "a\x85error: c",
    "shard photos\nshard photos: in 9 = 9 out + 0 rejected",
]  # fmt: skip
DIRECTIONS = [
    "\u202egnp.exe", "\u202dabc", "a\u2066b\u2069", "\u2067abc", "\u200fabc", "\u061cabc", "a\ufeffb", "a\u200bb",
    "\U000e0041\U000e0042",
]  # fmt: skip
SURROGATES = ["\udc80name", "a\ud800", "\udcff\udcfe.png"]
MARKUP = ["[red]a[/red]", "[/]", "[link=https://evil.example]a[/link]", "[bold", ":warning:", "[@click=f()]x[/]"]
HTML = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>", "</style><script>alert(1)</script>", "<a href=javascript:alert(1)>x</a>",
    "<iframe src=//evil.example></iframe>", "<!--", "<meta http-equiv=refresh content=0;url=//evil.example>",
    "&lt;script&gt;", "<base href=//evil.example>", "{{ 7 * 7 }}", "<form action=//evil.example><input>",
]  # fmt: skip
MARKDOWN = [
    "[a](javascript:alert(1))", "![a](https://evil.example/p.png)", "<https://evil.example>", "https://evil.example",
    "www.evil.example", "a@evil.example", "a | b | c", "`code` ``code``", "# title", "**bold** __bold__ *i* _i_",
    "- item", "1. item", "> quote", "```\ncode\n```", "---", "[a]: https://evil.example", "[a][b]", "~~a~~", "\\", "&copy;",
]  # fmt: skip
ALL = [*ESCAPES, *LINES, *DIRECTIONS, *SURROGATES, *MARKUP, *HTML, *MARKDOWN]
