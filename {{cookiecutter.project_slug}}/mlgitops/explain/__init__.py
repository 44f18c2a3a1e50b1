"""A responsible-AI page of one version: where it fails, what would flip a decision.

Importance, partial dependence, slices and fairness are the verdict's own numbers; error
tree, counterfactuals and the profile of the data are found here, from the version's
verified files. Tables in, facts out; `page` alone makes text of them.
"""


class ExplainError(Exception):
    """What was asked cannot be explained; the message says why and what to type."""
