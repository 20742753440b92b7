"""The tables and figures of the thesis, from reports."""
