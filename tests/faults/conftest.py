from tests.cli.conftest import workdir

__all__ = ["workdir"]
