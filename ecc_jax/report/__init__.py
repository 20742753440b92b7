"""The evaluation's numbers told: measures, intervals, tables, figures, pooling, comparison."""
