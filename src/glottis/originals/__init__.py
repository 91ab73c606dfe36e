"""Checkpoints that others have trained, as run folders: no code in them is executed."""

from glottis.originals.run_folder import Imported, import_original

__all__ = ["Imported", "import_original"]
