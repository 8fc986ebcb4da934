"""The paper's tables and figures: Table 1 and its report, Table 2 and Figure 5, and Figures 1, 2 and 4."""
