"""2-D slices of lung nodules from LIDC-IDRI: DICOM series and the outlines of four readers."""
