"""Reports and metrics from elsewhere become a run folder."""

from rooflift.importer.run import Label, Made, import_files
from rooflift.importer.versions import Choice

__all__ = ["Choice", "Label", "Made", "import_files"]
