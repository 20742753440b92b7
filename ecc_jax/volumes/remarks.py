"""What is odd about a file but does not stop it from being read."""

from pathlib import Path


class FileRemark(UserWarning):
    """A warning about one file or folder, of a kind that can be counted.

    Attributes:
      path: The file or folder.
      kind: What is odd, in a few words that are the same for every file, such as "values are not
        Hounsfield units"; builders count volumes by it.
    """

    def __init__(self, path: Path, kind: str, text: str) -> None:
        """Makes a remark that reads `path: text`.

        Args:
          path: The file or folder.
          kind: What is odd, the same words for every file.
          text: What was found, what it probably means and the remedy, one line.
        """
        super().__init__(f"{path}: {text}")
        self.path = path
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[Path, str, str]]:
        """Supports pickling: worker processes hand remarks to their parent."""
        text = str(self).removeprefix(f"{self.path}: ")
        return type(self), (self.path, self.kind, text)
