"""One module a scenario: its docstring says what is measured and how its ratios are formed."""
