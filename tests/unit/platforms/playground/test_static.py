"""The page's scripts: nothing bundles them, so names that don't exist would show as "undefined"."""

from __future__ import annotations

import re

from bot.platforms.playground.assets import FOLDER

SCRIPTS = {path.name: path.read_text() for path in (FOLDER / "js").glob("*.js")}


def test_the_texts_that_scripts_use_exist_and_no_others() -> None:
    defined = set(re.findall(r"^export const (\w+)", SCRIPTS["texts.js"], re.MULTILINE))
    used = {
        name
        for file, script in SCRIPTS.items()
        if file != "texts.js"
        for name in re.findall(r"(?<!/)\btexts\.(\w+)", script)
    }
    assert used == defined


def test_scripts_import_what_other_scripts_export() -> None:
    for file, script in SCRIPTS.items():
        for names, module in re.findall(r'import \{ ([^}]+) \} from "\./(\w+\.js)"', script):
            for name in names.split(", "):
                exported = rf"^export (?:async )?(?:function|class|const|let) {name}\b"
                assert re.search(exported, SCRIPTS[module], re.MULTILINE), (file, name)
