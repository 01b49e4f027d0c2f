"""Tables of checks: a row each, a column for each model."""

import re

# What a client has for itself.
NO_CHECKS = ("user", "create", "final", "TOOLS")


def cell(what):
    """Runs one check; says how it went."""
    try:
        what()
        return "works"
    except Exception as wrong:  # noqa: BLE001 - whatever goes wrong is told
        # The words of a refusal, in whatever its client's SDK makes of it.
        body = str(wrong)
        reason = re.search(r"'[\w.\[\]]+' (?:must|may|is)[^()\"]*this model's provider[^()\"]*", body)
        if reason:
            return f"refused: {reason.group(0).strip()}"
        return f"FAILS: {type(wrong).__name__} {body[:300]}"


def table(name, client, models, uncounted=()):
    """Prints one client's table; gives how many of its cells fail. Usage of those uncounted is not looked for."""
    checks = [check for check in vars(type(client)) if check[0] != "_" and check not in NO_CHECKS]
    print(f"\n## {name}\n\n| | {' | '.join(models)} |\n|---{'|---' * len(models)}|")
    failed = 0
    for check in checks:
        cells = [
            "not counted" if check == "usage" and model in uncounted else cell(lambda: getattr(client, check)(model))
            for model in models
        ]
        failed += sum(cell.startswith("FAILS") for cell in cells)
        print(f"| {check.replace('_', ' ')} | {' | '.join(cells)} |")
    return failed

