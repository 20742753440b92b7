"""Files that are no modules of a package, such as scripts and configurations, as modules."""

import importlib.util


def load(path):
    """Returns the module that a file makes when it is run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
