"""What a module imports, by its text."""

import ast


def imported_names(tree: ast.AST) -> set[str]:
    """Names in import statements, at any depth of the code: of modules, and of what is taken out of them after a dot."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
