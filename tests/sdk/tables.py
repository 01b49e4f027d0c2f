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
        body = str(wrong)
        if "not supported by this model's provider" in body or "unsupported_parameter" in body:
            reason = re.search(r"message['\"]: ['\"](.*?) \(request id", body)
            return f"refused: {reason.group(1) if reason else body}"
        return f"FAILS: {type(wrong).__name__} {body[:300]}"


def table(name, client, models):
    """Prints one client's table; gives how many of its cells fail."""
    checks = [check for check in vars(type(client)) if check[0] != "_" and check not in NO_CHECKS]
    print(f"\n## {name}\n\n| | {' | '.join(models)} |\n|---{'|---' * len(models)}|")
    failed = 0
    for check in checks:
        cells = [cell(lambda: getattr(client, check)(model)) for model in models]
        failed += sum(cell.startswith("FAILS") for cell in cells)
        print(f"| {check.replace('_', ' ')} | {' | '.join(cells)} |")
    return failed

