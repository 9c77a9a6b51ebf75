"""Checks every tensor's axes and dtype, as the signatures state them, while the tests run.

The hook must be in place before anything imports the modules, so it stands here and not with the
tests of the model.
"""

from jaxtyping import install_import_hook

install_import_hook(["minillm.model", "minillm.optim"], "beartype.beartype")
